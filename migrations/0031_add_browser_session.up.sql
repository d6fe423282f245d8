-- Sessions of pages in a browser: hash is the SHA-256 sum of the cookie.
CREATE TABLE browser_session (
    hash TEXT PRIMARY KEY NOT NULL,
    session TEXT NOT NULL
);
CREATE INDEX browser_session_session ON browser_session (session);

-- How a key signs.
ALTER TABLE signing_key ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'EdDSA';
