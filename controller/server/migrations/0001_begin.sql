-- Times are milliseconds since 1970 (UTC). Hashes are 32 bytes. Texts from machines are signed envelopes or closed words.

CREATE TABLE settings (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One-time invitations: only the hash of the secret.
CREATE TABLE tokens (
  secret_hash BLOB PRIMARY KEY CHECK (length(secret_hash) = 32),
  name        TEXT NOT NULL,
  role        TEXT NOT NULL,
  made_by     TEXT NOT NULL,
  made_at     INTEGER NOT NULL,
  until       INTEGER NOT NULL,
  redeemed_at INTEGER,
  enrolment   BLOB CHECK (enrolment IS NULL OR length(enrolment) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE enrolments (
  hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
  name        TEXT NOT NULL,
  role        TEXT NOT NULL,
  epoch       INTEGER NOT NULL,
  envelope    TEXT NOT NULL,
  address     TEXT NOT NULL,
  received_at INTEGER NOT NULL
) STRICT;
CREATE INDEX enrolments_of ON enrolments (name, role, received_at);

CREATE TABLE admissions (
  hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
  name        TEXT NOT NULL,
  role        TEXT NOT NULL,
  epoch       INTEGER NOT NULL,
  envelope    TEXT NOT NULL,
  received_at INTEGER NOT NULL
) STRICT;

CREATE TABLE revocations (
  hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
  envelope    TEXT NOT NULL,
  received_at INTEGER NOT NULL
) STRICT;

-- The policy set that is handed on; one version at a time, whole. The floor stands in settings.
CREATE TABLE policy (
  kind    TEXT NOT NULL,
  machine TEXT NOT NULL,
  bytes   BLOB NOT NULL,
  PRIMARY KEY (kind, machine)
) STRICT;

-- Where each chain stands: the last record that is held.
CREATE TABLE chains (
  id          INTEGER PRIMARY KEY,
  machine     TEXT NOT NULL,
  role        TEXT NOT NULL,
  epoch       INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  hash        BLOB NOT NULL CHECK (length(hash) = 32),
  lost        INTEGER NOT NULL DEFAULT 0,
  received_at INTEGER NOT NULL,
  UNIQUE (machine, role, epoch)
) STRICT;

CREATE TABLE records (
  id          INTEGER PRIMARY KEY,
  chain       INTEGER NOT NULL REFERENCES chains (id),
  seq         INTEGER NOT NULL,
  hash        BLOB NOT NULL CHECK (length(hash) = 32),
  envelope    TEXT NOT NULL,
  area        INTEGER NOT NULL,
  about       TEXT NOT NULL,
  policy      INTEGER,
  verdict     TEXT,
  reason      TEXT,
  observed_at INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  UNIQUE (chain, seq)
) STRICT;
CREATE INDEX records_about ON records (chain, about, seq);

-- Facts beside the records: deleting one breaks no chain.
CREATE TABLE payloads (
  record INTEGER PRIMARY KEY REFERENCES records (id),
  salt   BLOB NOT NULL,
  bytes  BLOB NOT NULL
) STRICT;

-- What was wrong with what machines sent, and where the controller's own judgement differs: each once, counted.
CREATE TABLE findings (
  id       INTEGER PRIMARY KEY,
  machine  TEXT NOT NULL,
  role     TEXT NOT NULL,
  kind     TEXT NOT NULL,
  place    TEXT NOT NULL,
  what     TEXT NOT NULL,
  count    INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  last_at  INTEGER NOT NULL,
  UNIQUE (machine, role, kind, place)
) STRICT;

CREATE TABLE users (
  name       TEXT PRIMARY KEY,
  password   TEXT NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Browser sessions and API tokens: only the hash of the secret.
CREATE TABLE sessions (
  secret_hash BLOB PRIMARY KEY CHECK (length(secret_hash) = 32),
  user        TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
  kind        TEXT NOT NULL CHECK (kind IN ('browser', 'api')),
  label       TEXT NOT NULL,
  made_at     INTEGER NOT NULL,
  seen_at     INTEGER NOT NULL,
  until       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Failed tries of accounts and addresses.
CREATE TABLE throttle (
  who      TEXT PRIMARY KEY,
  failures INTEGER NOT NULL,
  last_at  INTEGER NOT NULL,
  until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
