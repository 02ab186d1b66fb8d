-- Terms of allocations, what is open under each, the operators' acts on them,
-- and reservations that remember the weight they were made with.

-- +goose Up
ALTER TABLE allocation ADD COLUMN weights TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(weights)); -- thousandths by type of GPU
ALTER TABLE allocation ADD COLUMN max_gpus INTEGER NOT NULL DEFAULT 0 CHECK (max_gpus >= 0); -- zero sets no limit, here and below
ALTER TABLE allocation ADD COLUMN max_jobs INTEGER NOT NULL DEFAULT 0 CHECK (max_jobs >= 0);
ALTER TABLE allocation ADD COLUMN max_wall INTEGER NOT NULL DEFAULT 0 CHECK (max_wall >= 0); -- microseconds
ALTER TABLE allocation ADD COLUMN open_gpus INTEGER NOT NULL DEFAULT 0 CHECK (open_gpus >= 0); -- of reservations not settled
ALTER TABLE allocation ADD COLUMN open_jobs INTEGER NOT NULL DEFAULT 0 CHECK (open_jobs >= 0);
ALTER TABLE allocation ADD COLUMN frozen INTEGER NOT NULL DEFAULT 0 CHECK (frozen IN (0, 1));
ALTER TABLE allocation ADD COLUMN version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1);
CREATE INDEX allocation_tenant ON allocation (tenant_id); -- TenantAllocations

-- Promise P3 with its new terms: nothing is set aside under a frozen grant, and
-- an operator lowers a grant no further than to what is reserved and used.
DROP TRIGGER allocation_never_exceeded;
-- +goose StatementBegin
CREATE TRIGGER allocation_never_exceeded BEFORE UPDATE OF reserved ON allocation
WHEN NEW.reserved > OLD.reserved AND (NEW.reserved + NEW.used > NEW.granted OR NEW.frozen)
BEGIN
  SELECT RAISE(ABORT, 'reservation exceeds the allocation');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER allocation_never_below BEFORE UPDATE OF granted ON allocation
WHEN NEW.granted < OLD.granted AND NEW.granted < NEW.reserved + NEW.used
BEGIN
  SELECT RAISE(ABORT, 'a grant is not lowered below what is reserved and used');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER allocation_limits BEFORE UPDATE OF open_gpus, open_jobs ON allocation
WHEN (NEW.max_gpus > 0 AND NEW.open_gpus > OLD.open_gpus AND NEW.open_gpus > NEW.max_gpus)
  OR (NEW.max_jobs > 0 AND NEW.open_jobs > OLD.open_jobs AND NEW.open_jobs > NEW.max_jobs)
  OR (NEW.open_jobs > OLD.open_jobs AND NEW.frozen)
BEGIN
  SELECT RAISE(ABORT, 'the allocation has no room for another job');
END;
-- +goose StatementEnd

ALTER TABLE reservation ADD COLUMN gpus INTEGER NOT NULL DEFAULT 0 CHECK (gpus >= 0);
ALTER TABLE reservation ADD COLUMN weight INTEGER NOT NULL DEFAULT 1000 CHECK (weight > 0);
ALTER TABLE reservation ADD COLUMN unweighted INTEGER NOT NULL DEFAULT 0 CHECK (unweighted >= 0); -- GPU-seconds that the permit counts
DROP TRIGGER reservation_settled_once;
UPDATE reservation SET unweighted = gpu_seconds; -- there were no weights
-- Jobs that are open across this migration hold no GPUs of a limit: none was set.
UPDATE allocation SET open_jobs = (SELECT count(*) FROM reservation r WHERE r.allocation_id = allocation.id AND r.settled_at IS NULL);
-- +goose StatementBegin
CREATE TRIGGER reservation_settled_once BEFORE UPDATE ON reservation
WHEN OLD.settled_at IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'a reservation is settled once');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER reservation_fixed BEFORE UPDATE OF gpu_seconds, gpus, weight, unweighted, allocation_id ON reservation
BEGIN
  SELECT RAISE(ABORT, 'what was reserved never changes');
END;
-- +goose StatementEnd
CREATE INDEX job_review ON job (id) WHERE state = 'in_review'; -- Census
CREATE INDEX reservation_settled ON reservation (tenant_id, settled_at) WHERE settled_at IS NOT NULL; -- Usage

-- What operators did with allocations; each row is a leaf of the ledger too.
CREATE TABLE allocation_act (
  allocation_id TEXT NOT NULL REFERENCES allocation (id),
  version       INTEGER NOT NULL CHECK (version >= 1), -- of the allocation after it
  act           TEXT NOT NULL CHECK (act IN ('create', 'adjust', 'freeze', 'thaw')),
  by            TEXT NOT NULL,
  reason        TEXT NOT NULL,
  ledger_index  INTEGER NOT NULL UNIQUE REFERENCES ledger_row (idx),
  at            INTEGER NOT NULL,
  PRIMARY KEY (allocation_id, version)
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER allocation_act_fixed BEFORE UPDATE ON allocation_act
BEGIN
  SELECT RAISE(ABORT, 'an act never changes');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER allocation_act_kept BEFORE DELETE ON allocation_act
BEGIN
  SELECT RAISE(ABORT, 'an act is never removed');
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE allocation_act;
DROP INDEX job_review;
DROP INDEX reservation_settled;
DROP TRIGGER reservation_fixed;
ALTER TABLE reservation DROP COLUMN unweighted;
ALTER TABLE reservation DROP COLUMN weight;
ALTER TABLE reservation DROP COLUMN gpus;
DROP TRIGGER allocation_limits;
DROP TRIGGER allocation_never_below;
DROP TRIGGER allocation_never_exceeded;
DROP INDEX allocation_tenant;
ALTER TABLE allocation DROP COLUMN version;
ALTER TABLE allocation DROP COLUMN frozen;
ALTER TABLE allocation DROP COLUMN open_jobs;
ALTER TABLE allocation DROP COLUMN open_gpus;
ALTER TABLE allocation DROP COLUMN max_wall;
ALTER TABLE allocation DROP COLUMN max_jobs;
ALTER TABLE allocation DROP COLUMN max_gpus;
ALTER TABLE allocation DROP COLUMN weights;
-- +goose StatementBegin
CREATE TRIGGER allocation_never_exceeded BEFORE UPDATE OF reserved ON allocation
WHEN NEW.reserved > OLD.reserved AND NEW.reserved + NEW.used > NEW.granted
BEGIN
  SELECT RAISE(ABORT, 'reservation exceeds the allocation');
END;
-- +goose StatementEnd
