-- A key that signs otherwise would be taken for one that does not.
DELETE FROM signing_key WHERE algorithm <> 'EdDSA';
ALTER TABLE signing_key DROP COLUMN algorithm;
DROP TABLE browser_session;
