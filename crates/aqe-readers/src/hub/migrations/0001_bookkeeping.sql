-- What the hub knows about itself.
CREATE TABLE hub_info (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- How far each stream of each environment has got; committed with its rows.
CREATE TABLE sync_state (
  source_env TEXT NOT NULL,
  source TEXT NOT NULL,
  stream TEXT NOT NULL,
  table_name TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  complete INTEGER NOT NULL,
  synced_at TEXT NOT NULL,
  PRIMARY KEY (source_env, source, stream)
) STRICT;

-- One counter per environment and table: what a row's sync_version is drawn from.
CREATE TABLE sync_versions (
  source_env TEXT NOT NULL,
  table_name TEXT NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (source_env, table_name)
) STRICT;

CREATE TABLE sync_history (
  run_id TEXT PRIMARY KEY,
  source_env TEXT NOT NULL,
  mode TEXT NOT NULL,
  status TEXT NOT NULL,
  started_at TEXT NOT NULL,
  duration_ms INTEGER NOT NULL,
  totals TEXT NOT NULL,
  errors TEXT
) STRICT;
CREATE INDEX sync_history_by_time ON sync_history (started_at);

-- Both images of what differed, and the rule that decided.
CREATE TABLE conflict_log (
  id INTEGER PRIMARY KEY,
  source_env TEXT NOT NULL,
  table_name TEXT NOT NULL,
  key TEXT NOT NULL,
  rule TEXT NOT NULL,
  source TEXT NOT NULL,
  stream TEXT NOT NULL,
  incoming TEXT,
  existing_source TEXT NOT NULL,
  existing_stream TEXT NOT NULL,
  existing TEXT NOT NULL,
  logged_at TEXT NOT NULL
) STRICT;

-- Records that could not be stored, whole; the same record is kept once.
CREATE TABLE dead_letters (
  id TEXT PRIMARY KEY,
  source_env TEXT NOT NULL,
  source TEXT NOT NULL,
  stream TEXT NOT NULL,
  table_name TEXT NOT NULL,
  key TEXT NOT NULL,
  reason TEXT NOT NULL,
  record TEXT NOT NULL,
  first_seen_at TEXT NOT NULL,
  last_seen_at TEXT NOT NULL
) STRICT;
