-- Slots on which host and vault have agreed, of hosts that have more than they can tell: what a host cannot say again
-- stays agreed while neither denies it.
CREATE TABLE agreed (
  vault      TEXT NOT NULL,
  series     TEXT NOT NULL,
  date       TEXT NOT NULL,
  at         TEXT NOT NULL,
  seal       BLOB NOT NULL CHECK (length(seal) = 32),
  unreadable INTEGER NOT NULL,
  PRIMARY KEY (vault, series, date, at)
) STRICT, WITHOUT ROWID;
