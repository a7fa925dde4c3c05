-- Orders for vaults, as operators signed them; each vault judges them itself.
CREATE TABLE orders (
  hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
  envelope    TEXT NOT NULL,
  until       INTEGER NOT NULL,
  received_at INTEGER NOT NULL
) STRICT;
