-- Game profiles of an account. One that was deleted belongs to account 0, so that its number is not given again.
-- frozen_by is 'owner' or 'staff'. settings is a JSON object, settings_version counts its changes.
CREATE TABLE profile (
    id BIGINT PRIMARY KEY NOT NULL,
    account BIGINT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    settings TEXT NOT NULL,
    settings_version BIGINT NOT NULL,
    frozen_ms BIGINT,
    frozen_by TEXT,
    frozen_reason TEXT,
    debt BIGINT NOT NULL CHECK (debt >= 0),
    created_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX profile_account_name ON profile (account, name_key);

-- What services say of a character, beside its row, which its shard writes whole: its profile, when it was deleted, and when
-- it goes for good. One without a row is of its account's first profile and not deleted. A character that has gone
-- for good belongs to account 0, so that its number is not given again.
CREATE TABLE character_standing (
    id BIGINT PRIMARY KEY NOT NULL,
    profile BIGINT NOT NULL,
    deleted_ms BIGINT,
    purge_ms BIGINT
);
CREATE INDEX character_standing_purge ON character_standing (purge_ms);

-- The profile that a session plays with; the first one without.
ALTER TABLE session ADD COLUMN profile BIGINT;
-- What a ticket lets in with.
ALTER TABLE one_time_token ADD COLUMN profile BIGINT;
ALTER TABLE one_time_token ADD COLUMN character_id BIGINT;
