-- Accounts whose owner has asked for the deletion of all that is kept about them: when that is done, and when it was.
CREATE TABLE erasure (
    account BIGINT PRIMARY KEY NOT NULL,
    requested_ms BIGINT NOT NULL,
    erase_ms BIGINT NOT NULL,
    erased_ms BIGINT
);
CREATE INDEX erasure_erase ON erasure (erase_ms);
