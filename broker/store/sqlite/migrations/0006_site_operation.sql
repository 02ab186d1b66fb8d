-- Why an attempt waits, in our code beside the scheduler's words, and what
-- operators let happen at a site.

-- +goose Up
ALTER TABLE attempt ADD COLUMN waiting_code TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN waiting_start INTEGER; -- the scheduler's estimate
ALTER TABLE attempt ADD COLUMN waiting_since INTEGER; -- when the code came
-- What waited before was said in the scheduler's words alone.
UPDATE attempt SET waiting_code = 'unknown', waiting_since = updated_at WHERE waiting <> '';

ALTER TABLE site ADD COLUMN operation TEXT NOT NULL DEFAULT 'open' CHECK (operation IN ('open', 'cordoned', 'draining'));
ALTER TABLE site ADD COLUMN operation_by TEXT NOT NULL DEFAULT '';
ALTER TABLE site ADD COLUMN operation_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE site ADD COLUMN operation_at INTEGER;
ALTER TABLE site ADD COLUMN operation_until INTEGER; -- when the operator expects to open it; nothing happens by itself
ALTER TABLE site ADD COLUMN operation_version INTEGER NOT NULL DEFAULT 0 CHECK (operation_version >= 0); -- the number of acts

-- What operators did with sites; each row is a leaf of the ledger too.
CREATE TABLE site_act (
  site_id      TEXT NOT NULL REFERENCES site (id),
  version      INTEGER NOT NULL CHECK (version >= 1), -- of the operation after it
  act          TEXT NOT NULL CHECK (act IN ('cordon', 'drain', 'resume')),
  by           TEXT NOT NULL,
  reason       TEXT NOT NULL,
  until        INTEGER,
  ledger_index INTEGER NOT NULL UNIQUE REFERENCES ledger_row (idx),
  at           INTEGER NOT NULL,
  PRIMARY KEY (site_id, version)
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER site_act_fixed BEFORE UPDATE ON site_act
BEGIN
  SELECT RAISE(ABORT, 'an act never changes');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER site_act_kept BEFORE DELETE ON site_act
BEGIN
  SELECT RAISE(ABORT, 'an act is never removed');
END;
-- +goose StatementEnd

-- Nothing is handed to a site that an operator closed, whoever asks: the last
-- look is in the transaction that says that it will be.
-- +goose StatementBegin
CREATE TRIGGER attempt_site_open BEFORE UPDATE OF state ON attempt
WHEN NEW.state = 'submitting' AND OLD.state <> 'submitting'
  AND (SELECT s.operation FROM job j JOIN site s ON s.id = j.site_id WHERE j.id = NEW.job_id) <> 'open'
BEGIN
  SELECT RAISE(ABORT, 'nothing new starts at a closed site');
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER attempt_site_open;
DROP TABLE site_act;
ALTER TABLE site DROP COLUMN operation_version;
ALTER TABLE site DROP COLUMN operation_until;
ALTER TABLE site DROP COLUMN operation_at;
ALTER TABLE site DROP COLUMN operation_reason;
ALTER TABLE site DROP COLUMN operation_by;
ALTER TABLE site DROP COLUMN operation;
ALTER TABLE attempt DROP COLUMN waiting_since;
ALTER TABLE attempt DROP COLUMN waiting_start;
ALTER TABLE attempt DROP COLUMN waiting_code;
