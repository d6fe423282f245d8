DROP TABLE profile_debt;
