-- An account that has an e-mail address has shown that it can read its mail. second_factor_ms says since when signing in
-- takes a code beside the password; suspended_until_ms until when nobody signs in.
ALTER TABLE account ADD COLUMN email TEXT;
ALTER TABLE account ADD COLUMN second_factor_ms BIGINT;
ALTER TABLE account ADD COLUMN suspended_until_ms BIGINT;
ALTER TABLE account ADD COLUMN suspension_reason TEXT;
CREATE UNIQUE INDEX account_email ON account (email);

-- Somebody who has not shown yet that the address is theirs. Each has a password and a token of its own, so that who
-- confirms one confirms no other. Ids and tokens are SHA-256 sums.
CREATE TABLE registration (
    id TEXT PRIMARY KEY NOT NULL,
    token TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    sends BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX registration_expires ON registration (expires_ms);
CREATE INDEX registration_email ON registration (email);

-- Tokens that are good once, by purpose; hash is the SHA-256 sum. Account 0 is nobody's.
CREATE TABLE one_time_token (
    hash TEXT PRIMARY KEY NOT NULL,
    purpose TEXT NOT NULL,
    account BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    used_ms BIGINT
);
CREATE INDEX one_time_token_expires ON one_time_token (expires_ms);
CREATE INDEX one_time_token_account ON one_time_token (account, purpose);

-- A session is the family of its refresh tokens.
CREATE TABLE session (
    id TEXT PRIMARY KEY NOT NULL,
    account BIGINT NOT NULL,
    agent TEXT NOT NULL,
    address TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    end_reason TEXT
);
CREATE INDEX session_account ON session (account, created_ms);
CREATE INDEX session_ended ON session (ended_ms);
CREATE INDEX session_expires ON session (expires_ms);

-- hash is the SHA-256 sum. One that was used stays while its session lasts, so that its return is seen.
CREATE TABLE refresh_token (
    hash TEXT PRIMARY KEY NOT NULL,
    session TEXT NOT NULL,
    used_ms BIGINT
);
CREATE INDEX refresh_token_session ON refresh_token (session);

-- The secret is sealed under the node's key. last_step is the last time step whose code was taken.
CREATE TABLE second_factor (
    account BIGINT PRIMARY KEY NOT NULL,
    secret TEXT NOT NULL,
    last_step BIGINT NOT NULL
);

-- hash is the SHA-256 sum.
CREATE TABLE recovery_code (
    account BIGINT NOT NULL,
    hash TEXT NOT NULL,
    used_ms BIGINT,
    PRIMARY KEY (account, hash)
);

-- Keys that access tokens are signed with, sealed under the node's key.
CREATE TABLE signing_key (
    kid TEXT PRIMARY KEY NOT NULL,
    secret TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

-- Who may do what with the accounts of others.
CREATE TABLE staff (
    account BIGINT PRIMARY KEY NOT NULL,
    role TEXT NOT NULL,
    since_ms BIGINT NOT NULL
);

-- What they did. chain is the SHA-256 sum over a row and the chain of the one before: rows are only ever added.
CREATE TABLE staff_log (
    id BIGINT PRIMARY KEY NOT NULL,
    at_ms BIGINT NOT NULL,
    actor BIGINT NOT NULL,
    action TEXT NOT NULL,
    subject BIGINT NOT NULL,
    detail TEXT NOT NULL,
    chain TEXT NOT NULL
);
