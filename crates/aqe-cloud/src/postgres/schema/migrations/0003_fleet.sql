-- Environments that the fleet does not listen to; their rows stay.
CREATE TABLE {schema}.fleet_excluded (
  source_env text PRIMARY KEY,
  excluded_at timestamptz NOT NULL,
  excluded_by text NOT NULL
);
-- What pulls wrote into the rows of an environment's files, so that an installation that
-- lost its own notes can tell its part of them again. The entry is text, as it may hold
-- what jsonb cannot keep.
CREATE TABLE {schema}.fleet_kept (
  source_env text NOT NULL,
  source text NOT NULL,
  table_name text NOT NULL,
  local_key bytea NOT NULL,
  generation bigint NOT NULL,
  key text NOT NULL,
  entry text,
  PRIMARY KEY (source_env, source, table_name, local_key, generation)
);
