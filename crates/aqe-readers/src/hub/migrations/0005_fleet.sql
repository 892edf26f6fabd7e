-- Environments that the fleet does not listen to; their rows stay.
CREATE TABLE fleet_excluded (
  source_env TEXT PRIMARY KEY,
  excluded_at TEXT NOT NULL
) STRICT;

-- What pulls wrote into the rows of an environment's files, so that an installation that
-- lost its own notes can tell its part of them again.
CREATE TABLE fleet_kept (
  source_env TEXT NOT NULL,
  source TEXT NOT NULL,
  table_name TEXT NOT NULL,
  local_key BLOB NOT NULL,
  generation INTEGER NOT NULL,
  key TEXT NOT NULL,
  entry TEXT,
  PRIMARY KEY (source_env, source, table_name, local_key, generation)
) STRICT, WITHOUT ROWID;
