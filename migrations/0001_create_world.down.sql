DROP TABLE item;
DROP TABLE character;
DROP TABLE account;
DROP TABLE position;
