DROP TABLE ledger_carried;
