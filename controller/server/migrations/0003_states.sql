-- How each duty stood when it was judged last, and since when: a restart forgets no date.
CREATE TABLE states (
  tenant  TEXT NOT NULL,
  promise INTEGER NOT NULL,
  waived  INTEGER NOT NULL,
  duty    TEXT NOT NULL,
  state   TEXT NOT NULL,
  since   INTEGER,
  PRIMARY KEY (tenant, promise, waived, duty)
) STRICT, WITHOUT ROWID;
