-- When a record that could not be stored was no longer met in a whole reading of its
-- stream, and the run that met it last. Letters from before belong to no run.
ALTER TABLE dead_letters ADD COLUMN settled_at TEXT;
ALTER TABLE dead_letters ADD COLUMN run_id TEXT;
UPDATE dead_letters SET run_id = '';
