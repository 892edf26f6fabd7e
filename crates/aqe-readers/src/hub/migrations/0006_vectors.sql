-- Vectors that were computed from the texts of rows; all of this can be computed anew.
-- Whose rows of which table, embedded by which model.
CREATE TABLE vector_places (
  id INTEGER PRIMARY KEY,
  model TEXT NOT NULL,
  table_name TEXT NOT NULL,
  source_env TEXT NOT NULL,
  -- The version of the rows up to which all of them were embedded.
  reached INTEGER NOT NULL DEFAULT 0,
  UNIQUE (model, table_name, source_env)
) STRICT;

CREATE TABLE vectors (
  id INTEGER PRIMARY KEY,
  place INTEGER NOT NULL,
  key_hash BLOB NOT NULL,
  key TEXT NOT NULL,
  text_hash BLOB NOT NULL,
  -- A JSON array of the words of the text, each once.
  words TEXT NOT NULL,
  word_count INTEGER NOT NULL,
  -- float32, little-endian, of length one.
  vector BLOB NOT NULL,
  UNIQUE (place, key_hash)
) STRICT;
CREATE INDEX vectors_by_text ON vectors (text_hash);

-- The same vectors in a quarter of the space, for looking at all of them.
CREATE TABLE vector_codes (
  id INTEGER PRIMARY KEY,
  place INTEGER NOT NULL,
  code BLOB NOT NULL
) STRICT;

CREATE TABLE vector_words (
  word TEXT NOT NULL,
  place INTEGER NOT NULL,
  id INTEGER NOT NULL,
  occurs INTEGER NOT NULL,
  PRIMARY KEY (word, place, id)
) STRICT, WITHOUT ROWID;
