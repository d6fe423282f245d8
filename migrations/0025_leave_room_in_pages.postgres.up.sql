-- Rows that change often find room for their next version in their own page, so that indexes stay as they are (HOT). Of pages
-- that are there already it holds once they are written anew.
ALTER TABLE character SET (fillfactor = 70);
ALTER TABLE item SET (fillfactor = 70);
