# Sourced by the other scripts: finding and installing PostgreSQL.

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

may_install() { command -v apt-get >/dev/null && as_root true 2>/dev/null; }

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# Prints the folder with PostgreSQL's programs: the same that the tests find.
postgresql_bin() {
  local postgres
  if [ -n "${AQE_TEST_PG_BIN:-}" ]; then
    echo "$AQE_TEST_PG_BIN"
    return
  fi
  postgres="$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -n 1)"
  if [ -z "$postgres" ] && command -v pg_config >/dev/null; then
    postgres="$(pg_config --bindir)/postgres"
  fi
  [ -x "$postgres" ] && dirname "$postgres"
}

# Installs the programs only: no cluster is made, no service is started.
install_postgresql() {
  local conf=/etc/postgresql-common/createcluster.conf
  apt_install postgresql-common
  as_root cp -p "$conf" "$conf.before-aqe-sync"
  echo 'create_main_cluster = false' | as_root tee -a "$conf" >/dev/null
  apt_install postgresql || { as_root mv "$conf.before-aqe-sync" "$conf"; return 1; }
  as_root mv "$conf.before-aqe-sync" "$conf"
}
