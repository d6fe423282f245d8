DROP TABLE device_cursor;
DROP TABLE device_event;
DROP TABLE device_stream;
