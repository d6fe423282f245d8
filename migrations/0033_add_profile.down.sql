ALTER TABLE one_time_token DROP COLUMN character_id;
ALTER TABLE one_time_token DROP COLUMN profile;
ALTER TABLE session DROP COLUMN profile;
DROP TABLE character_standing;
DROP TABLE profile;
