-- Where the records of each stream of a run went, as JSON; of runs before this, nobody knows.
ALTER TABLE sync_history ADD COLUMN streams TEXT;
