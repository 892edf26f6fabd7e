-- Vectors that were computed from the texts of rows; all of this can be computed anew.
CREATE TABLE {schema}.vectors (
  source_env text NOT NULL,
  model text NOT NULL,
  table_name text NOT NULL,
  key_hash bytea NOT NULL,
  key text NOT NULL,
  text_hash bytea NOT NULL,
  words text[] NOT NULL,
  vector {vector} NOT NULL,
  PRIMARY KEY (source_env, model, table_name, key_hash)
);
CREATE INDEX vectors_by_text ON {schema}.vectors (text_hash);
CREATE INDEX vectors_by_word ON {schema}.vectors USING gin (words);
-- The version of each environment's rows up to which all of them were embedded.
CREATE TABLE {schema}.vector_progress (
  source_env text NOT NULL,
  model text NOT NULL,
  table_name text NOT NULL,
  reached bigint NOT NULL,
  PRIMARY KEY (source_env, model, table_name)
);
