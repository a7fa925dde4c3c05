-- What records told of drift, a few of each chain: so that what was mended is still seen when newer records say that all
-- is well, without a look at all records. One row for records that told the same of an area one after the other.
CREATE TABLE drifts (
  record   INTEGER PRIMARY KEY REFERENCES records (id),
  chain    INTEGER NOT NULL REFERENCES chains (id),
  area     TEXT NOT NULL,
  same     BLOB NOT NULL CHECK (length(same) = 32),
  first_at INTEGER NOT NULL,
  times    INTEGER NOT NULL,
  told     TEXT
) STRICT;
CREATE INDEX drifts_of ON drifts (chain, record);

-- Facts that are deleted are gone here too; that something differed stays.
CREATE TRIGGER drifts_without_facts AFTER DELETE ON payloads BEGIN
  UPDATE drifts SET told = NULL WHERE record = OLD.record;
END;
