-- How far the journal of each node has been applied, and who may apply it (the epoch is the fencing token).
CREATE TABLE position (
    node TEXT PRIMARY KEY NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL
);

CREATE TABLE account (
    id BIGINT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

-- name_key is the name in lower case: names that differ only in case are one name.
CREATE TABLE character (
    id BIGINT PRIMARY KEY NOT NULL,
    account BIGINT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    zone BIGINT NOT NULL,
    x BIGINT NOT NULL,
    y BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX character_account ON character (account);

-- A zone that has been played: one without a row is new, and its ground is littered.
CREATE TABLE zone (
    id BIGINT PRIMARY KEY NOT NULL,
    heaps BIGINT NOT NULL
);

-- An item is one row and so in one place: place 0 is the inventory of character `owner`, at `slot`;
-- place 1 is the ground of zone `owner`, at x, y.
CREATE TABLE item (
    id BIGINT PRIMARY KEY NOT NULL,
    kind BIGINT NOT NULL,
    count BIGINT NOT NULL,
    place BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    slot BIGINT NOT NULL,
    x BIGINT NOT NULL,
    y BIGINT NOT NULL
);
CREATE INDEX item_place_owner ON item (place, owner);
