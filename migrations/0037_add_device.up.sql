-- Devices that sign in by a key of their own (Ed25519, in hexadecimal). session is the one that it signed in to last.
CREATE TABLE device (
    id TEXT PRIMARY KEY NOT NULL,
    account BIGINT NOT NULL,
    public_key TEXT NOT NULL,
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    enrolled_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    session TEXT
);
CREATE UNIQUE INDEX device_public_key ON device (public_key);
CREATE INDEX device_account ON device (account, enrolled_ms);
CREATE INDEX device_seen ON device (seen_ms);

-- Keys that sign nobody in, whoever has them: they outlast the device. until_ms is the greatest number there is where it is
-- for good.
CREATE TABLE device_ban (
    public_key TEXT PRIMARY KEY NOT NULL,
    device TEXT NOT NULL,
    account BIGINT NOT NULL,
    since_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    reason TEXT NOT NULL
);
CREATE UNIQUE INDEX device_ban_device ON device_ban (device);

-- Challenges that were answered, for as long as they are good.
CREATE TABLE device_challenge (
    nonce TEXT PRIMARY KEY NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX device_challenge_expires ON device_challenge (expires_ms);

-- The key by which devices know this server, sealed. There is one.
CREATE TABLE device_server_key (
    id BIGINT PRIMARY KEY NOT NULL,
    secret TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
