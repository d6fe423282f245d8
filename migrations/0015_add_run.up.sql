-- Each run of a node, written when it begins. The epoch is the lease's token; a shard of the run has epoch * 2^40 + its number
-- for its source in the ledger.
CREATE TABLE run (
    epoch BIGINT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL,
    shards BIGINT NOT NULL,
    began_ms BIGINT NOT NULL
);
