-- The order in which jobs take their turn: the class that policy gave each, what
-- projects were given lately, and leases in a table of their own.

-- +goose Up
ALTER TABLE job ADD COLUMN priority_class TEXT NOT NULL DEFAULT ''; -- '' unless it was admitted, and for jobs from before there were classes
ALTER TABLE job ADD COLUMN priority_weight INTEGER NOT NULL DEFAULT 1 CHECK (priority_weight BETWEEN 0 AND 100);

-- What of an attempt changes with every look at it. It stands apart because
-- SQLite writes a row whole and an attempt carries its order: leases of 10,000
-- attempts, renewed in place, would write 100 MB each time.
CREATE TABLE work (
  attempt_id  TEXT NOT NULL PRIMARY KEY REFERENCES attempt (id),
  tenant_id   TEXT NOT NULL,
  project_id  TEXT NOT NULL,
  site_id     TEXT NOT NULL,
  -- What dispatch does with it: it waits for its turn, its turn has begun, it is
  -- queued at its site, the site runs it, it is over. See attempt_stage.
  stage       TEXT NOT NULL CHECK (stage IN ('waiting', 'begun', 'queued', 'site', 'over')),
  weight      INTEGER NOT NULL, -- of the job's class
  cost        INTEGER NOT NULL CHECK (cost > 0), -- GPU-seconds that it reserves, and a minute
  at          INTEGER NOT NULL, -- when its job was submitted
  rank        INTEGER NOT NULL, -- its place among its project's: at, less a head start of 15 minutes for each unit of weight
  hour        INTEGER, -- of share, where cost is counted
  cancel      INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1)), -- a person asked to cancel the job
  token       INTEGER NOT NULL DEFAULT 0, -- fencing token: raised by each claim
  lease_owner TEXT,
  lease_until INTEGER,
  due_at      INTEGER NOT NULL -- the end of the lease, while there is one
) STRICT, WITHOUT ROWID;
INSERT INTO work (attempt_id, tenant_id, project_id, site_id, stage, weight, cost, at, rank, cancel, token, lease_owner, lease_until, due_at)
  SELECT a.id, a.tenant_id, a.project_id, j.site_id,
    CASE a.state WHEN 'packaging' THEN 'waiting' WHEN 'clearing' THEN 'begun' WHEN 'ready' THEN 'begun'
      WHEN 'submitting' THEN 'queued' WHEN 'queued' THEN 'queued' WHEN 'refused' THEN 'over' WHEN 'done' THEN 'over' ELSE 'site' END,
    j.priority_weight, r.unweighted + 60, j.created_at, j.created_at - 900000000 * j.priority_weight, j.cancel_at IS NOT NULL,
    a.token, a.lease_owner, a.lease_until, coalesce(a.lease_until, a.due_at)
  FROM attempt a JOIN job j ON j.id = a.job_id JOIN reservation r ON r.id = a.reservation_id;
CREATE INDEX work_due ON work (stage, due_at) WHERE stage <> 'over'; -- Claim, what has begun
CREATE INDEX work_turn ON work (site_id, project_id, rank, attempt_id) WHERE stage = 'waiting'; -- Claim and Queue
CREATE INDEX work_room ON work (site_id, stage) WHERE stage IN ('begun', 'queued'); -- room at a site
CREATE INDEX work_held ON work (site_id) WHERE stage = 'waiting' AND lease_until IS NOT NULL; -- room at a site
CREATE INDEX work_cancel ON work (stage) WHERE cancel = 1 AND stage <> 'over'; -- Cancelled
CREATE INDEX work_lease ON work (lease_until) WHERE lease_until IS NOT NULL; -- Reclaim
DROP INDEX attempt_due;
ALTER TABLE attempt DROP COLUMN token;
ALTER TABLE attempt DROP COLUMN lease_owner;
ALTER TABLE attempt DROP COLUMN lease_until;
ALTER TABLE attempt DROP COLUMN due_at;

-- GPU-seconds that a project was given, by the hour in which its jobs were handed
-- to a site: what they reserved, and once that is known what they used.
CREATE TABLE share (
  hour       INTEGER NOT NULL, -- since 1970
  project_id TEXT NOT NULL,
  tenant_id  TEXT NOT NULL,
  cost       INTEGER NOT NULL,
  PRIMARY KEY (hour, project_id),
  FOREIGN KEY (project_id, tenant_id) REFERENCES project (id, tenant_id)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER attempt_work AFTER INSERT ON attempt
BEGIN
  INSERT INTO work (attempt_id, tenant_id, project_id, site_id, stage, weight, cost, at, rank, cancel, due_at)
    SELECT NEW.id, NEW.tenant_id, NEW.project_id, j.site_id, 'waiting', j.priority_weight, r.unweighted + 60, j.created_at,
      j.created_at - 900000000 * j.priority_weight, j.cancel_at IS NOT NULL, NEW.created_at
    FROM job j, reservation r WHERE j.id = NEW.job_id AND r.id = NEW.reservation_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attempt_stage AFTER UPDATE OF state ON attempt
WHEN NEW.state <> OLD.state
BEGIN
  UPDATE work SET stage = CASE NEW.state WHEN 'packaging' THEN 'waiting' WHEN 'clearing' THEN 'begun' WHEN 'ready' THEN 'begun'
      WHEN 'submitting' THEN 'queued' WHEN 'queued' THEN 'queued' WHEN 'refused' THEN 'over' WHEN 'done' THEN 'over' ELSE 'site' END
    WHERE attempt_id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attempt_given AFTER UPDATE OF state ON attempt
WHEN NEW.state = 'submitting' AND OLD.state <> NEW.state
BEGIN
  UPDATE work SET hour = NEW.updated_at / 3600000000 WHERE attempt_id = NEW.id;
  INSERT INTO share (hour, project_id, tenant_id, cost)
    SELECT hour, project_id, tenant_id, cost FROM work WHERE attempt_id = NEW.id
    ON CONFLICT (hour, project_id) DO UPDATE SET cost = cost + excluded.cost;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attempt_used AFTER UPDATE OF state ON attempt
WHEN NEW.state = 'done' AND OLD.state <> NEW.state
BEGIN
  UPDATE share SET cost = cost + NEW.usage_gpu_seconds + 60 - (SELECT cost FROM work WHERE attempt_id = NEW.id)
    WHERE project_id = NEW.project_id AND hour = (SELECT hour FROM work WHERE attempt_id = NEW.id);
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER attempt_used;
DROP TRIGGER attempt_given;
DROP TRIGGER attempt_stage;
DROP TRIGGER attempt_work;
DROP TABLE share;
ALTER TABLE attempt ADD COLUMN token INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN lease_owner TEXT;
ALTER TABLE attempt ADD COLUMN lease_until INTEGER;
ALTER TABLE attempt ADD COLUMN due_at INTEGER NOT NULL DEFAULT 0;
UPDATE attempt SET token = w.token, lease_owner = w.lease_owner, lease_until = w.lease_until, due_at = w.due_at
  FROM work w WHERE w.attempt_id = attempt.id;
CREATE INDEX attempt_due ON attempt (due_at, id) WHERE state NOT IN ('refused', 'done');
DROP TABLE work;
ALTER TABLE job DROP COLUMN priority_weight;
ALTER TABLE job DROP COLUMN priority_class;
