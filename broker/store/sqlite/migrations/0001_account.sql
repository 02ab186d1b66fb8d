-- Who may ask, where work may run, and what is granted.
-- Times are microseconds since 1970 in UTC; identifiers are opaque and random
-- except person.id and permit ids, which are the authority's.

-- +goose Up
CREATE TABLE tenant (
  id         TEXT NOT NULL PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE project (
  id         TEXT NOT NULL PRIMARY KEY,
  tenant_id  TEXT NOT NULL REFERENCES tenant (id),
  name       TEXT NOT NULL UNIQUE, -- EnsureProject finds by it
  created_at INTEGER NOT NULL,
  UNIQUE (id, tenant_id) -- lets other tables refer to both at once
) STRICT;

CREATE TABLE person (
  id         TEXT NOT NULL, -- as permits write it, for example an eduPersonPrincipalName
  tenant_id  TEXT NOT NULL,
  project_id TEXT NOT NULL,
  name       TEXT NOT NULL,
  roles      TEXT NOT NULL CHECK (json_valid(roles)), -- JSON list
  created_at INTEGER NOT NULL,
  PRIMARY KEY (project_id, id),
  FOREIGN KEY (project_id, tenant_id) REFERENCES project (id, tenant_id)
) STRICT;

-- The secret of a token is in nobody's database: hash is its SHA-256.
CREATE TABLE token (
  id         TEXT NOT NULL PRIMARY KEY,
  tenant_id  TEXT NOT NULL,
  project_id TEXT NOT NULL,
  person_id  TEXT NOT NULL,
  hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32), -- PersonByToken finds by it
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER, -- NULL while valid
  FOREIGN KEY (project_id, tenant_id) REFERENCES project (id, tenant_id),
  FOREIGN KEY (project_id, person_id) REFERENCES person (project_id, id)
) STRICT;
CREATE INDEX token_person ON token (tenant_id, person_id); -- Tokens

-- Sites belong to no tenant.
CREATE TABLE site (
  id         TEXT NOT NULL PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  assurance  TEXT NOT NULL CHECK (assurance IN ('advisory', 'enforced')),
  isolation  TEXT NOT NULL CHECK (isolation IN ('userns', 'none')),
  record     TEXT NOT NULL CHECK (json_valid(record)), -- the rest, see siteRecord
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

-- GPU time granted to a project at a site, in GPU-seconds.
CREATE TABLE allocation (
  id          TEXT NOT NULL PRIMARY KEY,
  tenant_id   TEXT NOT NULL,
  project_id  TEXT NOT NULL,
  site_id     TEXT NOT NULL REFERENCES site (id),
  access_mode TEXT NOT NULL,
  granted     INTEGER NOT NULL CHECK (granted >= 0),
  reserved    INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0), -- by reservations not settled
  used        INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0),     -- booked; overrun may pass granted
  valid_from  INTEGER NOT NULL,
  valid_until INTEGER NOT NULL,
  CHECK (valid_from < valid_until),
  FOREIGN KEY (project_id, tenant_id) REFERENCES project (id, tenant_id)
) STRICT;
CREATE INDEX allocation_site ON allocation (project_id, site_id); -- AllocationsAt

-- Promise P3, whatever the code above does: nothing more is set aside than the
-- grant holds at that moment.
-- +goose StatementBegin
CREATE TRIGGER allocation_never_exceeded BEFORE UPDATE OF reserved ON allocation
WHEN NEW.reserved > OLD.reserved AND NEW.reserved + NEW.used > NEW.granted
BEGIN
  SELECT RAISE(ABORT, 'reservation exceeds the allocation');
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE allocation;
DROP TABLE site;
DROP TABLE token;
DROP TABLE person;
DROP TABLE project;
DROP TABLE tenant;
