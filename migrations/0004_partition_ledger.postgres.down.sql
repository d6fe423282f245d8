ALTER TABLE ledger RENAME TO ledger_parts;
CREATE TABLE ledger (LIKE ledger_parts INCLUDING DEFAULTS);
INSERT INTO ledger SELECT * FROM ledger_parts;
DROP TABLE ledger_parts;
ALTER TABLE ledger ADD PRIMARY KEY (source, seq, idx);
CREATE INDEX ledger_item ON ledger (item);
