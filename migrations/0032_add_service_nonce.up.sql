-- Signed calls of other servers that were seen, for as long as their time is good.
CREATE TABLE service_nonce (
    key_id TEXT NOT NULL,
    nonce TEXT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (key_id, nonce)
);
CREATE INDEX service_nonce_expires ON service_nonce (expires_ms);
