-- Agents of remote sites, and what they alerted to.

-- +goose Up
-- One agent speaks for a site; a site without one has its agent in the broker.
CREATE TABLE site_agent (
  site_id     TEXT NOT NULL PRIMARY KEY REFERENCES site (id),
  key         BLOB NOT NULL UNIQUE, -- public, PEM
  sign_in     TEXT NOT NULL UNIQUE, -- public user nkey
  by_person   TEXT NOT NULL,
  enrolled_at INTEGER NOT NULL
) STRICT;

CREATE TABLE site_alert (
  id         TEXT NOT NULL PRIMARY KEY, -- the agent's
  site_id    TEXT NOT NULL REFERENCES site (id),
  code       TEXT NOT NULL,
  method     TEXT NOT NULL,
  attempt    TEXT NOT NULL, -- as the message named it; it need not exist
  key_id     TEXT NOT NULL,
  detail     TEXT NOT NULL,
  count      INTEGER NOT NULL CHECK (count > 0),
  first_at   INTEGER NOT NULL,
  last_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX site_alert_last ON site_alert (site_id, last_at); -- Alerts

-- +goose Down
DROP TABLE site_alert;
DROP TABLE site_agent;
