-- What profiles came to owe (amount above 0) and what of it was settled (below 0), by whom and why. Rows are only ever added;
-- their sum is the profile's debt. actor is an account of the staff, 0 for another server.
CREATE TABLE profile_debt (
    id BIGINT PRIMARY KEY NOT NULL,
    profile BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount <> 0),
    reason TEXT NOT NULL,
    actor BIGINT NOT NULL
);
CREATE INDEX profile_debt_profile ON profile_debt (profile, id);
