-- To find what is past its time.
CREATE INDEX ledger_at ON ledger (at_ms);
