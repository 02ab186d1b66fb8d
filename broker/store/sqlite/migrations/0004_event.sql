-- Events: written beside the change that they tell of (outbox), and as a reader
-- sees them (event).

-- +goose Up
-- An event leaves the outbox when it is in the projection. One that was sent
-- and did not arrive is therefore not lost: Outbox gives it out again.
CREATE TABLE outbox (
  id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- the order of writing
  tenant_id  TEXT NOT NULL,
  project_id TEXT NOT NULL,
  job_id     TEXT NOT NULL,
  attempt_id TEXT NOT NULL, -- '' for events of the job
  seq        INTEGER NOT NULL CHECK (seq >= 1), -- dense per job and attempt
  kind       TEXT NOT NULL,
  name       TEXT NOT NULL,
  text       TEXT NOT NULL,
  at         INTEGER NOT NULL,
  sent_at    INTEGER,
  UNIQUE (job_id, attempt_id, seq),
  FOREIGN KEY (job_id, tenant_id, project_id) REFERENCES job (id, tenant_id, project_id)
) STRICT;
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL; -- Outbox
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL; -- Outbox, what did not arrive

CREATE TABLE event (
  cursor     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  tenant_id  TEXT NOT NULL,
  project_id TEXT NOT NULL,
  job_id     TEXT NOT NULL,
  attempt_id TEXT NOT NULL,
  site_id    TEXT NOT NULL, -- '' for events of the broker
  source     TEXT NOT NULL CHECK (source IN ('site', 'broker')),
  seq        INTEGER NOT NULL CHECK (seq >= 1),
  kind       TEXT NOT NULL CHECK (kind IN ('state', 'metric', 'log', 'notice')),
  name       TEXT NOT NULL,
  value      REAL, -- NULL is not a number, as a diverged loss
  step       INTEGER NOT NULL,
  text       TEXT NOT NULL,
  at         INTEGER NOT NULL,
  FOREIGN KEY (job_id, tenant_id, project_id) REFERENCES job (id, tenant_id, project_id)
) STRICT;
CREATE INDEX event_job ON event (job_id, cursor); -- Events

-- The number of the newest event applied: promise P9, once and in order.
CREATE TABLE event_mark (
  tenant_id  TEXT NOT NULL,
  project_id TEXT NOT NULL,
  job_id     TEXT NOT NULL,
  attempt_id TEXT NOT NULL,
  source     TEXT NOT NULL,
  seq        INTEGER NOT NULL CHECK (seq >= 1),
  PRIMARY KEY (job_id, attempt_id, source),
  FOREIGN KEY (job_id, tenant_id, project_id) REFERENCES job (id, tenant_id, project_id)
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER event_mark_dense BEFORE UPDATE ON event_mark
WHEN NEW.seq < OLD.seq
BEGIN
  SELECT RAISE(ABORT, 'a high-water mark never falls');
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE event_mark;
DROP TABLE event;
DROP TABLE outbox;
