-- What entries of the ledger came to that have gone into an archive: how many of a kind came to a place and owner and did not
-- leave; by item where the kind does not stack, else item is 0.
CREATE TABLE ledger_carried (
    kind BIGINT NOT NULL,
    item BIGINT NOT NULL,
    place BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (kind, item, place, owner)
);
