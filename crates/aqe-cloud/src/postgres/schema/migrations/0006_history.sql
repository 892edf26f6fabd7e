-- Where the records of each stream of a run went; of runs before this, nobody knows.
ALTER TABLE {schema}.sync_history ADD COLUMN streams jsonb;
