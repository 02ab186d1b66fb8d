-- The transparency log: rows, their Merkle tree and the checkpoints signed over
-- it; and permits, whose import is its first kind of entry.

-- +goose Up
-- One row per tenant and permit that has a leaf: its newest leaf and the key
-- of its commitments.
CREATE TABLE ledger_permit (
  tenant_id TEXT NOT NULL REFERENCES tenant (id),
  permit_id TEXT NOT NULL,
  key       BLOB NOT NULL CHECK (length(key) = 32),
  seq       INTEGER NOT NULL CHECK (seq >= 1), -- of the newest leaf
  leaf      BLOB NOT NULL CHECK (length(leaf) = 32),
  PRIMARY KEY (tenant_id, permit_id)
) STRICT;

-- What each leaf commits to. Salt, document, person and permit are what
-- retention erases; the record and its leaf stay.
CREATE TABLE ledger_row (
  idx        INTEGER NOT NULL PRIMARY KEY CHECK (idx >= 0), -- dense, the leaf's index in the tree
  tenant_id  TEXT NOT NULL,
  project_id TEXT NOT NULL,
  permit_id  TEXT NOT NULL,
  person_id  TEXT NOT NULL,
  kind       TEXT NOT NULL,
  at         INTEGER NOT NULL,
  seq        INTEGER NOT NULL CHECK (seq >= 1),
  record     BLOB NOT NULL, -- canonical; leaf is its SHA-256
  salt       BLOB NOT NULL CHECK (length(salt) = 32),
  document   BLOB NOT NULL, -- exact bytes
  leaf       BLOB NOT NULL CHECK (length(leaf) = 32),
  UNIQUE (tenant_id, permit_id, seq), -- dense per permit: two branches collide here
  FOREIGN KEY (project_id, tenant_id) REFERENCES project (id, tenant_id)
) STRICT;
CREATE INDEX ledger_row_tenant ON ledger_row (tenant_id, idx); -- LedgerRows

-- Hashes of complete subtrees, at tlog.StoredHashIndex.
CREATE TABLE ledger_hash (
  idx  INTEGER NOT NULL PRIMARY KEY,
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE ledger_checkpoint (
  size INTEGER NOT NULL PRIMARY KEY CHECK (size >= 0), -- NewestCheckpoint takes the largest
  root BLOB NOT NULL CHECK (length(root) = 32),
  note BLOB NOT NULL, -- signed note
  at   INTEGER NOT NULL
) STRICT;

-- The log grows and never changes. These triggers keep mistakes out; whoever
-- edits the file is found by the checkpoints.
-- +goose StatementBegin
CREATE TRIGGER ledger_row_dense BEFORE INSERT ON ledger_row
WHEN NEW.idx <> (SELECT coalesce(max(idx) + 1, 0) FROM ledger_row)
BEGIN
  SELECT RAISE(ABORT, 'the ledger has no gaps');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_row_fixed BEFORE UPDATE OF idx, tenant_id, project_id, kind, at, seq, record, leaf ON ledger_row
BEGIN
  SELECT RAISE(ABORT, 'a leaf never changes');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_row_kept BEFORE DELETE ON ledger_row
BEGIN
  SELECT RAISE(ABORT, 'a leaf is never removed');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_hash_fixed BEFORE UPDATE ON ledger_hash
BEGIN
  SELECT RAISE(ABORT, 'a tree hash never changes');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_hash_kept BEFORE DELETE ON ledger_hash
BEGIN
  SELECT RAISE(ABORT, 'a tree hash is never removed');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_checkpoint_fixed BEFORE UPDATE ON ledger_checkpoint
BEGIN
  SELECT RAISE(ABORT, 'a checkpoint never changes');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ledger_checkpoint_kept BEFORE DELETE ON ledger_checkpoint
BEGIN
  SELECT RAISE(ABORT, 'a checkpoint is never removed');
END;
-- +goose StatementEnd

-- Permits as imported: exact bytes.
CREATE TABLE permit (
  id           TEXT NOT NULL,
  version      INTEGER NOT NULL CHECK (version >= 1),
  tenant_id    TEXT NOT NULL,
  project_id   TEXT NOT NULL,
  jws          BLOB NOT NULL,
  digest       TEXT NOT NULL,
  status       BLOB, -- newest status statement
  status_at    INTEGER,
  status_index INTEGER REFERENCES ledger_row (idx), -- NULL for a status that came with the import
  at           INTEGER NOT NULL,
  ledger_index INTEGER NOT NULL UNIQUE REFERENCES ledger_row (idx),
  PRIMARY KEY (project_id, id, version), -- Permit takes the largest version
  CHECK ((status IS NULL) = (status_at IS NULL)),
  FOREIGN KEY (project_id, tenant_id) REFERENCES project (id, tenant_id)
) STRICT;

-- GPU-seconds under a permit over all sites, kept with the reservations so that
-- an admission reads one row and not all of them.
CREATE TABLE permit_use (
  tenant_id  TEXT NOT NULL,
  project_id TEXT NOT NULL,
  permit_id  TEXT NOT NULL,
  reserved   INTEGER NOT NULL CHECK (reserved >= 0),
  used       INTEGER NOT NULL CHECK (used >= 0),
  PRIMARY KEY (project_id, permit_id),
  FOREIGN KEY (project_id, tenant_id) REFERENCES project (id, tenant_id)
) STRICT;

-- +goose Down
DROP TABLE permit_use;
DROP TABLE permit;
DROP TABLE ledger_checkpoint;
DROP TABLE ledger_hash;
DROP TABLE ledger_row;
DROP TABLE ledger_permit;
