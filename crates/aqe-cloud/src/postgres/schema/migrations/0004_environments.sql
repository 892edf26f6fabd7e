-- Which login writes which environment. Empty until the hub's owner makes the first one:
-- until then every login that may write the tables writes any environment.
CREATE TABLE {schema}.environments (
  environment text PRIMARY KEY,
  role text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL,
  revoked_at timestamptz
);
-- The owner's to write from the first moment on, whatever is granted: who could write it
-- before environments are kept apart would be whom they like afterwards. The owner is that
-- of the table that was made first.
ALTER TABLE {schema}.environments ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY aqe_read ON {schema}.environments FOR SELECT USING (true);
CREATE POLICY aqe_owner ON {schema}.environments USING ((
  SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c
  WHERE c.oid = (SELECT i.tableoid FROM {schema}.hub_info i LIMIT 1)));
-- Keys begin with the environment, so that nobody can be in the way of somebody else's row.
ALTER TABLE {schema}.dead_letters DROP CONSTRAINT dead_letters_pkey, ADD PRIMARY KEY (source_env, id);
ALTER TABLE {schema}.sync_history DROP CONSTRAINT sync_history_pkey, ADD PRIMARY KEY (source_env, run_id);
