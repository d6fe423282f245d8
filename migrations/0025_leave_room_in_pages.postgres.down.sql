ALTER TABLE item RESET (fillfactor);
ALTER TABLE character RESET (fillfactor);
