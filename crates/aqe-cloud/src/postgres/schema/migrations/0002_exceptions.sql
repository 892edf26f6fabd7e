-- Both images of what differed, and the rule that decided.
CREATE TABLE {schema}.conflict_log (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  source_env text NOT NULL,
  table_name text NOT NULL,
  key text NOT NULL,
  rule text NOT NULL,
  source text NOT NULL,
  stream text NOT NULL,
  incoming jsonb,
  existing_source text NOT NULL,
  existing_stream text NOT NULL,
  existing jsonb NOT NULL,
  logged_at timestamptz NOT NULL
);
-- Records that could not be stored, whole; the same record is kept once. The record is
-- text, as it may hold what jsonb cannot keep.
CREATE TABLE {schema}.dead_letters (
  id text PRIMARY KEY,
  source_env text NOT NULL,
  source text NOT NULL,
  stream text NOT NULL,
  table_name text NOT NULL,
  key text NOT NULL,
  reason text NOT NULL,
  record text NOT NULL,
  first_seen_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  settled_at timestamptz,
  run_id text
);
CREATE INDEX dead_letters_by_stream ON {schema}.dead_letters (source_env, source, stream) WHERE settled_at IS NULL;
