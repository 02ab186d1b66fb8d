-- Jobs, attempts, decisions and reservations. The lists of states and the edges
-- between them repeat broker.JobState and broker.AttemptState; a test compares.

-- +goose Up
CREATE TABLE job_edge (
  state TEXT NOT NULL,
  next  TEXT NOT NULL,
  PRIMARY KEY (state, next)
) STRICT;
INSERT INTO job_edge (state, next) VALUES
  ('submitted', 'not_admitted'), ('submitted', 'in_review'), ('submitted', 'admitted'),
  ('submitted', 'cancelled'), ('submitted', 'stopped'),
  ('in_review', 'admitted'), ('in_review', 'not_admitted'), ('in_review', 'cancelled'), ('in_review', 'stopped'),
  ('admitted', 'active'), ('admitted', 'not_admitted'), ('admitted', 'cancelled'), ('admitted', 'stopped'),
  ('active', 'succeeded'), ('active', 'failed'), ('active', 'cancelled'), ('active', 'stopped');

CREATE TABLE attempt_edge (
  state TEXT NOT NULL,
  next  TEXT NOT NULL,
  PRIMARY KEY (state, next)
) STRICT;
INSERT INTO attempt_edge (state, next) VALUES
  ('packaging', 'clearing'), ('packaging', 'done'),
  ('clearing', 'refused'), ('clearing', 'ready'), ('clearing', 'done'),
  ('ready', 'submitting'), ('ready', 'done'),
  ('submitting', 'queued'), ('submitting', 'starting'), ('submitting', 'running'), ('submitting', 'sealing'), ('submitting', 'done'),
  ('queued', 'starting'), ('queued', 'running'), ('queued', 'sealing'), ('queued', 'done'),
  ('starting', 'queued'), ('starting', 'running'), ('starting', 'sealing'), ('starting', 'done'),
  ('running', 'sealing'), ('running', 'done'),
  ('sealing', 'done');

CREATE TABLE job (
  id          TEXT NOT NULL PRIMARY KEY,
  tenant_id   TEXT NOT NULL,
  project_id  TEXT NOT NULL,
  submitter   TEXT NOT NULL,
  permit_id   TEXT NOT NULL,
  spec        BLOB NOT NULL, -- canonical bytes
  spec_digest TEXT NOT NULL,
  site_id     TEXT NOT NULL REFERENCES site (id),
  state       TEXT NOT NULL CHECK (state IN ('submitted', 'not_admitted', 'in_review', 'admitted', 'active', 'succeeded', 'failed', 'cancelled', 'stopped')),
  code        TEXT NOT NULL,
  version     INTEGER NOT NULL CHECK (version >= 1),
  event_seq   INTEGER NOT NULL DEFAULT 0, -- number of the broker's newest event of the job itself
  cancel_at   INTEGER, -- when a person asked to cancel
  created_at  INTEGER NOT NULL,
  updated_at  INTEGER NOT NULL,
  finished_at INTEGER,
  CHECK ((finished_at IS NOT NULL) = (state IN ('not_admitted', 'succeeded', 'failed', 'cancelled', 'stopped'))),
  UNIQUE (id, tenant_id, project_id),
  FOREIGN KEY (project_id, tenant_id) REFERENCES project (id, tenant_id)
) STRICT;
CREATE INDEX job_newest ON job (project_id, created_at DESC, id DESC); -- Jobs

-- +goose StatementBegin
CREATE TRIGGER job_edges BEFORE UPDATE OF state ON job
WHEN NEW.state <> OLD.state AND NOT EXISTS (SELECT 1 FROM job_edge WHERE state = OLD.state AND next = NEW.state)
BEGIN
  SELECT RAISE(ABORT, 'no such edge of the job state machine');
END;
-- +goose StatementEnd

-- GPU time set aside for one attempt.
CREATE TABLE reservation (
  id            TEXT NOT NULL PRIMARY KEY,
  tenant_id     TEXT NOT NULL,
  project_id    TEXT NOT NULL,
  allocation_id TEXT REFERENCES allocation (id), -- NULL only where nothing is reserved
  job_id        TEXT NOT NULL REFERENCES job (id),
  gpu_seconds   INTEGER NOT NULL CHECK (gpu_seconds >= 0),
  booked        INTEGER NOT NULL DEFAULT 0 CHECK (booked >= 0),
  settled_at    INTEGER, -- NULL while it is open
  created_at    INTEGER NOT NULL,
  CHECK (allocation_id IS NOT NULL OR gpu_seconds = 0),
  CHECK (settled_at IS NOT NULL OR booked = 0),
  FOREIGN KEY (job_id, tenant_id, project_id) REFERENCES job (id, tenant_id, project_id)
) STRICT;
CREATE INDEX reservation_allocation ON reservation (allocation_id); -- the sum that tests compare with allocation.reserved

-- +goose StatementBegin
CREATE TRIGGER reservation_settled_once BEFORE UPDATE ON reservation
WHEN OLD.settled_at IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'a reservation is settled once');
END;
-- +goose StatementEnd

CREATE TABLE attempt (
  id                TEXT NOT NULL PRIMARY KEY,
  tenant_id         TEXT NOT NULL,
  project_id        TEXT NOT NULL,
  job_id            TEXT NOT NULL,
  number            INTEGER NOT NULL CHECK (number >= 1),
  state             TEXT NOT NULL CHECK (state IN ('packaging', 'clearing', 'refused', 'ready', 'submitting', 'queued', 'starting', 'running', 'sealing', 'done')),
  outcome           TEXT CHECK (outcome IN ('ok', 'exit', 'oom', 'walltime', 'node_fail', 'preempted', 'launch_failed', 'cancelled', 'stopped', 'lost')),
  exit_code         INTEGER NOT NULL DEFAULT 0,
  code              TEXT NOT NULL DEFAULT '',
  waiting           TEXT NOT NULL DEFAULT '',
  image             TEXT,
  clearance_id      TEXT REFERENCES decision (id),
  receipt           BLOB, -- of the clearance's leaf
  order_id          TEXT UNIQUE,
  order_bytes       BLOB, -- the signed order as every start repeats it
  reservation_id    TEXT NOT NULL UNIQUE REFERENCES reservation (id),
  usage_gpu_seconds INTEGER NOT NULL DEFAULT 0 CHECK (usage_gpu_seconds >= 0),
  usage_cpu_seconds INTEGER NOT NULL DEFAULT 0 CHECK (usage_cpu_seconds >= 0),
  usage_elapsed     INTEGER NOT NULL DEFAULT 0 CHECK (usage_elapsed >= 0), -- microseconds
  usage_method      TEXT NOT NULL DEFAULT '',
  version           INTEGER NOT NULL CHECK (version >= 1),
  event_seq         INTEGER NOT NULL DEFAULT 0, -- number of the broker's newest event of the attempt
  token             INTEGER NOT NULL DEFAULT 0, -- fencing token: raised by each claim
  lease_owner       TEXT,
  lease_until       INTEGER,
  due_at            INTEGER NOT NULL,
  created_at        INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL,
  started_at        INTEGER,
  finished_at       INTEGER,
  UNIQUE (job_id, number),
  CHECK ((outcome IS NOT NULL) = (state = 'done')),
  CHECK ((finished_at IS NOT NULL) = (state IN ('refused', 'done'))),
  -- Promise P1: from ready on, and whatever has started, holds a clearance, its
  -- ledger receipt and the order that carries them.
  CHECK ((state IN ('packaging', 'clearing', 'refused', 'done') AND started_at IS NULL)
    OR (clearance_id IS NOT NULL AND receipt IS NOT NULL AND order_id IS NOT NULL AND order_bytes IS NOT NULL AND image IS NOT NULL)),
  FOREIGN KEY (job_id, tenant_id, project_id) REFERENCES job (id, tenant_id, project_id)
) STRICT;
-- Promise P4: a job has at most one live attempt.
CREATE UNIQUE INDEX attempt_live ON attempt (job_id) WHERE state NOT IN ('refused', 'done');
CREATE INDEX attempt_due ON attempt (due_at, id) WHERE state NOT IN ('refused', 'done'); -- Claim

-- +goose StatementBegin
CREATE TRIGGER attempt_begins BEFORE INSERT ON attempt
WHEN NEW.state <> 'packaging'
BEGIN
  SELECT RAISE(ABORT, 'an attempt begins with packaging');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attempt_edges BEFORE UPDATE OF state ON attempt
WHEN NEW.state <> OLD.state AND NOT EXISTS (SELECT 1 FROM attempt_edge WHERE state = OLD.state AND next = NEW.state)
BEGIN
  SELECT RAISE(ABORT, 'no such edge of the attempt state machine');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attempt_cleared BEFORE UPDATE OF state, clearance_id ON attempt
WHEN NEW.clearance_id IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM decision
  WHERE id = NEW.clearance_id AND attempt_id = NEW.id AND kind = 'clearance' AND verdict = 'allow')
BEGIN
  SELECT RAISE(ABORT, 'only an allowed clearance of this attempt clears it');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attempt_order_fixed BEFORE UPDATE OF clearance_id, receipt, order_id, order_bytes, image ON attempt
WHEN OLD.order_bytes IS NOT NULL AND (NEW.clearance_id IS NOT OLD.clearance_id OR NEW.receipt IS NOT OLD.receipt
  OR NEW.order_id IS NOT OLD.order_id OR NEW.order_bytes IS NOT OLD.order_bytes OR NEW.image IS NOT OLD.image)
BEGIN
  SELECT RAISE(ABORT, 'what a ready attempt was cleared as never changes');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER job_ends_last BEFORE UPDATE OF state ON job
WHEN NEW.state IN ('not_admitted', 'succeeded', 'failed', 'cancelled', 'stopped')
  AND EXISTS (SELECT 1 FROM attempt WHERE job_id = NEW.id AND state NOT IN ('refused', 'done'))
BEGIN
  SELECT RAISE(ABORT, 'a job does not end before its attempt');
END;
-- +goose StatementEnd

-- Decisions; their document is the ledger row's.
CREATE TABLE decision (
  id           TEXT NOT NULL PRIMARY KEY,
  tenant_id    TEXT NOT NULL,
  project_id   TEXT NOT NULL,
  job_id       TEXT NOT NULL,
  attempt_id   TEXT REFERENCES attempt (id),
  kind         TEXT NOT NULL CHECK (kind IN ('admission', 'clearance')),
  verdict      TEXT NOT NULL CHECK (verdict IN ('allow', 'deny', 'review')),
  reasons      TEXT NOT NULL CHECK (json_valid(reasons)), -- see reasonRecord
  permit_id    TEXT NOT NULL,
  input        BLOB NOT NULL, -- canonical policy input, exact bytes: what a replay needs
  policy_hash  TEXT NOT NULL,
  engine       TEXT NOT NULL,
  ledger_index INTEGER NOT NULL UNIQUE REFERENCES ledger_row (idx),
  at           INTEGER NOT NULL,
  CHECK ((attempt_id IS NOT NULL) = (kind = 'clearance')),
  FOREIGN KEY (job_id, tenant_id, project_id) REFERENCES job (id, tenant_id, project_id)
) STRICT;
CREATE INDEX decision_job ON decision (job_id, ledger_index); -- Decisions

-- +goose StatementBegin
CREATE TRIGGER decision_fixed BEFORE UPDATE ON decision
BEGIN
  SELECT RAISE(ABORT, 'a decision never changes');
END;
-- +goose StatementEnd

-- A client's idempotency keys.
CREATE TABLE idempotency (
  tenant_id    TEXT NOT NULL,
  project_id   TEXT NOT NULL,
  key          TEXT NOT NULL,
  request_hash BLOB NOT NULL CHECK (length(request_hash) = 32),
  job_id       TEXT NOT NULL,
  decision_id  TEXT NOT NULL REFERENCES decision (id),
  created_at   INTEGER NOT NULL,
  PRIMARY KEY (project_id, key),
  FOREIGN KEY (job_id, tenant_id, project_id) REFERENCES job (id, tenant_id, project_id)
) STRICT;

-- What a site sealed of an attempt.
CREATE TABLE manifest (
  attempt_id TEXT NOT NULL PRIMARY KEY REFERENCES attempt (id),
  tenant_id  TEXT NOT NULL,
  project_id TEXT NOT NULL,
  digest     TEXT NOT NULL, -- of bytes
  bytes      BLOB NOT NULL,
  sandbox    INTEGER NOT NULL CHECK (sandbox IN (0, 1)),
  files      TEXT NOT NULL CHECK (json_valid(files)), -- see fileRecord
  sealed_at  INTEGER NOT NULL,
  FOREIGN KEY (project_id, tenant_id) REFERENCES project (id, tenant_id)
) STRICT;

-- What a reviewer let out.
CREATE TABLE release (
  id              TEXT NOT NULL PRIMARY KEY,
  tenant_id       TEXT NOT NULL,
  project_id      TEXT NOT NULL,
  job_id          TEXT NOT NULL,
  attempt_id      TEXT NOT NULL REFERENCES attempt (id),
  manifest_digest TEXT NOT NULL,
  reviewer        TEXT NOT NULL,
  envelope        BLOB NOT NULL, -- the reviewer's signed statement, exact bytes
  ledger_index    INTEGER NOT NULL UNIQUE REFERENCES ledger_row (idx),
  at              INTEGER NOT NULL,
  UNIQUE (attempt_id, manifest_digest),
  FOREIGN KEY (job_id, tenant_id, project_id) REFERENCES job (id, tenant_id, project_id)
) STRICT;
CREATE INDEX release_job ON release (job_id, ledger_index); -- Releases

-- +goose Down
DROP TABLE release;
DROP TABLE manifest;
DROP TABLE idempotency;
DROP TRIGGER attempt_cleared; -- it reads decision, and a dropped table may not be read
UPDATE attempt SET state = 'done', outcome = 'lost', finished_at = coalesce(finished_at, updated_at)
  WHERE state NOT IN ('refused', 'done');
DROP TRIGGER attempt_order_fixed;
UPDATE attempt SET clearance_id = NULL, started_at = NULL; -- frees decision, which refers to attempt in turn
DROP TABLE decision;
DROP TABLE attempt;
DROP TABLE reservation;
DROP TABLE job;
DROP TABLE attempt_edge;
DROP TABLE job_edge;
