-- Who applies a node's journal, and until when nobody else may begin to (the epoch is the lease's token).
-- home is the data directory that the journal is in; times are milliseconds since 1970 by the database's clock.
ALTER TABLE position ADD COLUMN holder TEXT NOT NULL DEFAULT '';
ALTER TABLE position ADD COLUMN home TEXT NOT NULL DEFAULT '';
ALTER TABLE position ADD COLUMN renewed_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE position ADD COLUMN expires_ms BIGINT NOT NULL DEFAULT 0;
