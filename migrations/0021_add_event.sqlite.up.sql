-- What happened to accounts, characters and zones, for whoever looks after the game. 0 is none.
CREATE TABLE event (
    source BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    what TEXT NOT NULL,
    account BIGINT NOT NULL,
    character BIGINT NOT NULL,
    zone BIGINT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (source, seq)
);
CREATE INDEX event_at ON event (at_ms);
CREATE INDEX event_account ON event (account, at_ms);
