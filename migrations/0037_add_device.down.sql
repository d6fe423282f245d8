DROP TABLE device_server_key;
DROP TABLE device_challenge;
DROP TABLE device_ban;
DROP TABLE device;
