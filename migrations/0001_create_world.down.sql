DROP TABLE item;
DROP TABLE zone;
DROP TABLE character;
DROP TABLE account;
DROP TABLE position;
