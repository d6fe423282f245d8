ALTER TABLE position DROP COLUMN expires_ms;
ALTER TABLE position DROP COLUMN renewed_ms;
ALTER TABLE position DROP COLUMN home;
ALTER TABLE position DROP COLUMN holder;
