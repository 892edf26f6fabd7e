-- Vectors that were computed from the texts of rows; all of this can be computed anew.
-- Whose rows of which table, embedded by which model.
CREATE TABLE vector_places (
  id INTEGER PRIMARY KEY,
  model TEXT NOT NULL,
  table_name TEXT NOT NULL,
  source_env TEXT NOT NULL,
  -- The version of the rows up to which all of them were embedded.
  reached INTEGER NOT NULL DEFAULT 0,
  -- How many vectors it has, and of how many numbers; 0 before the first.
  vectors INTEGER NOT NULL DEFAULT 0,
  dimension INTEGER NOT NULL DEFAULT 0,
  UNIQUE (model, table_name, source_env)
) STRICT;

CREATE TABLE vectors (
  id INTEGER PRIMARY KEY,
  place INTEGER NOT NULL,
  -- Where in the place's blocks its code is: block slot / 64, there at slot % 64.
  slot INTEGER NOT NULL,
  key_hash BLOB NOT NULL,
  key TEXT NOT NULL,
  text_hash BLOB NOT NULL,
  -- A JSON array of the words of the text, each once.
  words TEXT NOT NULL,
  word_count INTEGER NOT NULL,
  -- float32, little-endian, of length one.
  vector BLOB NOT NULL,
  UNIQUE (key_hash, place)
) STRICT;
CREATE INDEX vectors_by_text ON vectors (text_hash);

-- The same vectors in a quarter of the space, for looking at all of them: 64 to a block, each the
-- id of its vector (little-endian) and its code.
CREATE TABLE vector_blocks (
  id INTEGER PRIMARY KEY,
  place INTEGER NOT NULL,
  number INTEGER NOT NULL,
  entries BLOB NOT NULL,
  UNIQUE (place, number)
) STRICT;

CREATE TABLE vector_words (
  word TEXT NOT NULL,
  place INTEGER NOT NULL,
  id INTEGER NOT NULL,
  occurs INTEGER NOT NULL,
  PRIMARY KEY (word, place, id)
) STRICT, WITHOUT ROWID;
