-- Which login writes which environment. Empty until the hub's owner makes the first one:
-- until then every login that may write the tables writes any environment.
CREATE TABLE {schema}.environments (
  environment text PRIMARY KEY,
  role text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL,
  revoked_at timestamptz
);
-- Keys begin with the environment, so that nobody can be in the way of somebody else's row.
ALTER TABLE {schema}.dead_letters DROP CONSTRAINT dead_letters_pkey, ADD PRIMARY KEY (source_env, id);
ALTER TABLE {schema}.sync_history DROP CONSTRAINT sync_history_pkey, ADD PRIMARY KEY (source_env, run_id);
