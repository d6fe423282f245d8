DROP INDEX ledger_at;
