-- Why an attempt waits, in our code beside the scheduler's words.

-- +goose Up
ALTER TABLE attempt ADD COLUMN waiting_code TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN waiting_start INTEGER; -- the scheduler's estimate
ALTER TABLE attempt ADD COLUMN waiting_since INTEGER; -- when the code came
-- What waited before was said in the scheduler's words alone.
UPDATE attempt SET waiting_code = 'unknown', waiting_since = updated_at WHERE waiting <> '';

-- +goose Down
ALTER TABLE attempt DROP COLUMN waiting_since;
ALTER TABLE attempt DROP COLUMN waiting_start;
ALTER TABLE attempt DROP COLUMN waiting_code;
