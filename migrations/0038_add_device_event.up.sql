-- What an account's devices tell each other. sequence is that of the stream's last event; dropped that of the last one that was
-- given up for want of room.
CREATE TABLE device_stream (
    account BIGINT NOT NULL,
    name TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    dropped BIGINT NOT NULL,
    PRIMARY KEY (account, name)
);

-- key is empty where an event supersedes none; number is the device's own.
CREATE TABLE device_event (
    account BIGINT NOT NULL,
    stream TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    key TEXT NOT NULL,
    device TEXT NOT NULL,
    number BIGINT NOT NULL,
    body TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (account, stream, sequence)
);
CREATE INDEX device_event_expires ON device_event (expires_ms);

-- How far a device has read a stream, and the number of its last event in it.
CREATE TABLE device_cursor (
    device TEXT NOT NULL,
    stream TEXT NOT NULL,
    acknowledged BIGINT NOT NULL,
    published BIGINT NOT NULL,
    PRIMARY KEY (device, stream)
);
