-- How often an item was used. Place 2 is what character `owner` wears, place 3 its bank, both at `slot`; a count of 0 in the
-- bank keeps the slot for the kind.
ALTER TABLE item ADD COLUMN wear BIGINT NOT NULL DEFAULT 0;

-- Each movement of items, appended in the transaction that moved them. Place -1 is nowhere.
CREATE TABLE ledger (
    source BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    reason BIGINT NOT NULL,
    item BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    count BIGINT NOT NULL,
    from_place BIGINT NOT NULL,
    from_owner BIGINT NOT NULL,
    to_place BIGINT NOT NULL,
    to_owner BIGINT NOT NULL,
    counterparty BIGINT NOT NULL,
    PRIMARY KEY (source, seq, idx)
);
CREATE INDEX ledger_item ON ledger (item);

-- What there is already came from nowhere.
INSERT INTO ledger (source, seq, idx, at_ms, reason, item, kind, count, from_place, from_owner, to_place, to_owner, counterparty)
SELECT 0, id, 0, 0, 0, id, kind, count, -1, 0, place, owner, 0 FROM item;
