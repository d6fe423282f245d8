-- The ledger by month (of at_ms), so that months past their time go whole. Partitions are made by the node, ahead of time;
-- what is of no month that is there, as what has no time (0), is in the default one and stays.
ALTER TABLE ledger RENAME TO ledger_whole;
CREATE TABLE ledger (LIKE ledger_whole INCLUDING DEFAULTS) PARTITION BY RANGE (at_ms);
CREATE TABLE ledger_default PARTITION OF ledger DEFAULT;
INSERT INTO ledger SELECT * FROM ledger_whole;
DROP TABLE ledger_whole;
ALTER TABLE ledger ADD PRIMARY KEY (source, seq, idx, at_ms);
CREATE INDEX ledger_item ON ledger (item);
CREATE INDEX ledger_at ON ledger (at_ms);
