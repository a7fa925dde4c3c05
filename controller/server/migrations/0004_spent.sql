-- What each chain's machine has sent on the day of its last records and, while the disk is nearly full, in their minute.
ALTER TABLE chains ADD COLUMN day INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chains ADD COLUMN day_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chains ADD COLUMN minute INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chains ADD COLUMN minute_bytes INTEGER NOT NULL DEFAULT 0;
