#!/usr/bin/env bash
# The bare pipe: pipe.sh DATABASE URL. Makes the tables where they are missing, and
# replaces what they hold: each table with one `sqlite3 | psql`.
set -euo pipefail
database=$1 url=$2

ask() { sqlite3 -batch -bail "file:$database?mode=ro" "$@"; }
tell() { psql -X -q -v ON_ERROR_STOP=1 -d "$url" "$@"; }

tables="$(ask "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'")"

ask "
  SELECT format('CREATE TABLE IF NOT EXISTS \"%w\" (%s%s);', m.name, group_concat(format('\"%w\" %s', c.name,
    CASE c.type WHEN 'INTEGER' THEN 'bigint' WHEN 'REAL' THEN 'double precision' WHEN 'BLOB' THEN 'bytea' ELSE 'text' END),
    ', '), (SELECT ', PRIMARY KEY (' || group_concat(format('\"%w\"', k.name), ', ') || ')'
            FROM (SELECT name FROM pragma_table_info(m.name) WHERE pk > 0 ORDER BY pk) k))
  FROM sqlite_schema m, pragma_table_info(m.name) c
  WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\' GROUP BY m.name" |
  tell -c 'SET client_min_messages = warning' -f -

for table in $tables; do
  columns="$(ask "SELECT group_concat(CASE type WHEN 'BLOB' THEN format('CASE WHEN \"%w\" NOT NULL THEN ''\x'' || hex(\"%w\") END', name, name)
    ELSE format('\"%w\"', name) END, ', ') FROM pragma_table_info('$table')")"
  ask -csv "SELECT $columns FROM \"$table\"" |
    tell --single-transaction -c "TRUNCATE \"$table\"" -c "\\copy \"$table\" FROM pstdin WITH (FORMAT csv)"
done
