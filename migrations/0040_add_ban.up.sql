-- Who may not come in: an account, or a range of addresses. until_ms is the greatest number for good; by_actor and ended_by
-- are accounts of the staff, 0 for another server. The row of a banned account says the same to every way in.
CREATE TABLE ban (
    id BIGINT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    account BIGINT NOT NULL,
    network TEXT NOT NULL,
    reason TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    by_actor BIGINT NOT NULL,
    ended_ms BIGINT,
    ended_by BIGINT
);
CREATE INDEX ban_account ON ban (account, id);
CREATE INDEX ban_kind ON ban (kind, ended_ms);

-- Suspensions from before: when and by whom is in the log.
INSERT INTO ban (id, kind, account, network, reason, since_ms, until_ms, by_actor)
SELECT id, 'account', id, '', COALESCE(suspension_reason, ''), 0, suspended_until_ms, 0
FROM account WHERE suspended_until_ms IS NOT NULL;

-- What banned people say to it, once for each ban and account, and what staff decided.
CREATE TABLE appeal (
    id BIGINT PRIMARY KEY NOT NULL,
    ban BIGINT NOT NULL,
    account BIGINT NOT NULL,
    said TEXT NOT NULL,
    filed_ms BIGINT NOT NULL,
    decided_ms BIGINT,
    decided_by BIGINT,
    granted BIGINT,
    answer TEXT
);
CREATE UNIQUE INDEX appeal_ban_account ON appeal (ban, account);
CREATE INDEX appeal_open ON appeal (decided_ms, id);
