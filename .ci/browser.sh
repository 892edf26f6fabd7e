#!/usr/bin/env bash
# Installs what the tests of the report page need, once, and prints the variables that tell them
# where it is:   eval "$(bash .ci/browser.sh)"
#   Chromium  Debian's, run without a window
#   axe-core  the checks of accessibility, from its npm package (MPL-2.0); only the tests read it
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/postgresql.sh
exec 3>&1 >&2

browser="$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)"
if [ -z "$browser" ]; then
  echo "installing Chromium for the tests"
  apt_install chromium
  browser="$(command -v chromium)"
fi

version=4.14.1
sum=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
cache="${XDG_CACHE_HOME:-$HOME/.cache}/aqe-sync-test"
place="$cache/axe-core-$version"
if [ ! -f "$place/axe.min.js" ]; then
  echo "fetching axe-core $version"
  mkdir -p "$cache"
  command -v npm >/dev/null || apt_install npm
  new="$(mktemp -d "$cache/new-XXXXXX")"
  (cd "$new" && npm pack --silent "axe-core@$version" && echo "$sum  axe-core-$version.tgz" | sha256sum --check --quiet)
  tar -xzf "$new/axe-core-$version.tgz" -C "$new" package/axe.min.js package/LICENSE
  # Somebody else may have finished first.
  mv -T "$new/package" "$place" 2>/dev/null || [ -f "$place/axe.min.js" ]
  rm -rf "$new"
fi
echo "export AQE_TEST_BROWSER='$browser' AQE_TEST_AXE='$place/axe.min.js'" >&3
