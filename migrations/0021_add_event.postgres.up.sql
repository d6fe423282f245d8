-- What happened to accounts, characters and zones, for whoever looks after the game; by week (of at_ms). 0 is none.
CREATE TABLE event (
    source BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    what TEXT NOT NULL,
    account BIGINT NOT NULL,
    character BIGINT NOT NULL,
    zone BIGINT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (source, seq, at_ms)
) PARTITION BY RANGE (at_ms);
CREATE TABLE event_default PARTITION OF event DEFAULT;
CREATE INDEX event_at ON event (at_ms);
CREATE INDEX event_account ON event (account, at_ms);
