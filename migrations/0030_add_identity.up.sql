-- Who somebody is at an identity provider, and which account that lets in. By issuer and not by the name that the
-- configuration gives it, so that a name that goes to another provider lets nobody in.
CREATE TABLE identity (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    account BIGINT NOT NULL,
    linked_ms BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE UNIQUE INDEX identity_account ON identity (account, issuer);

-- Sign-ins at a provider that have begun. hash is the SHA-256 sum of the token that only who began it has; state, nonce and
-- code verifier are made from that token and kept nowhere. account is whose account the identity is to be linked to, 0 to sign
-- in; proven is the account that was found, where a code of the second factor is all that is missing.
CREATE TABLE identity_flow (
    hash TEXT PRIMARY KEY NOT NULL,
    provider TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    account BIGINT NOT NULL,
    proven BIGINT,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX identity_flow_expires ON identity_flow (expires_ms);
