-- How far each stream of each environment has got; committed with its rows.
CREATE TABLE {schema}.sync_state (
  source_env text NOT NULL,
  source text NOT NULL,
  stream text NOT NULL,
  table_name text NOT NULL,
  sequence bigint NOT NULL,
  run_id text NOT NULL,
  complete boolean NOT NULL,
  synced_at timestamptz NOT NULL,
  instance text NOT NULL DEFAULT '',
  PRIMARY KEY (source_env, source, stream)
);
-- One counter per environment and table: what a row's sync_version is drawn from.
CREATE TABLE {schema}.sync_versions (
  source_env text NOT NULL,
  table_name text NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (source_env, table_name)
);
CREATE TABLE {schema}.sync_history (
  run_id text PRIMARY KEY,
  source_env text NOT NULL,
  mode text NOT NULL,
  status text NOT NULL,
  started_at timestamptz NOT NULL,
  duration_ms bigint NOT NULL,
  totals jsonb NOT NULL,
  errors text
);
CREATE INDEX sync_history_by_time ON {schema}.sync_history (started_at);
