//! The server and the session: whether they let a sync do its work.

use std::time::{Duration, Instant};

use aqe_sync_core::{Quoted, Timestamp};
use postgres_types::Type;
use tokio_postgres::{Error, Row};

use super::thresholds::{CLOCK_CRITICAL, CLOCK_WARNING, FREE_CONNECTIONS, SHORTEST_LIMITS};
use super::{Check, grantee, one};
use crate::postgres::link::{Address, Link};

/// `protection` is what the connector says of it.
pub(super) async fn encryption(link: &Link, address: &Address, protection: Option<&str>) -> Result<Vec<Check>, Error> {
    let row =
        one(link, "SELECT ssl, version FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()").await?;
    let encrypted: bool = row.try_get(0)?;
    let host = address.host();
    let local = host.starts_with('/') || ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
    Ok(vec![if encrypted {
        let version: Option<String> = row.try_get(1)?;
        Check::ok("encryption", version.unwrap_or_else(|| "TLS".to_owned()))
    } else if let Some(protection) = protection {
        Check::ok("encryption", format!("none for the database itself; {protection}"))
    } else if local {
        Check::ok("encryption", "none, and the link does not leave this machine")
    } else {
        Check::warning(
            "encryption",
            "none: passwords and memories cross the network as they are",
            "add sslmode=verify-full to the hub's address, or at least sslmode=require",
        )
    }])
}

pub(super) async fn server(link: &Link) -> Result<Vec<Check>, Error> {
    let row = one(
        link,
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int, \
         current_setting('server_encoding'), pg_catalog.pg_is_in_recovery(), \
         current_setting('default_transaction_read_only') = 'on', \
         EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))",
    )
    .await?;
    let (version, number): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
    let mut checks = vec![if number < 140_000 {
        Check::critical("server", format!("PostgreSQL {version}"), "a hub needs PostgreSQL 14 or newer")
    } else {
        Check::ok("server", format!("PostgreSQL {version}"))
    }];
    let encoding: String = row.try_get(2)?;
    checks.push(if encoding == "UTF8" {
        Check::ok("encoding", encoding)
    } else {
        let found = format!("{encoding}, which cannot hold all text");
        Check::critical("encoding", found, "use a database made with ENCODING 'UTF8'")
    });
    if row.try_get(3)? {
        let found = "the server is a standby: status and verify work here, a sync does not";
        checks.push(Check::critical("writing", found, "use the address of the primary"));
    } else if row.try_get(4)? {
        let advice = "set default_transaction_read_only to off for this user or database";
        checks.push(Check::warning("writing", "sessions are read-only unless they say otherwise", advice));
    }
    checks.push(if row.try_get(5)? {
        Check::ok("compression", "lz4")
    } else {
        Check::ok("compression", "pglz: this server was built without lz4, so large values take longer to store")
    });
    Ok(checks)
}

/// Whose connections count towards which limit. Other users' sessions are seen, though
/// not what they do: one of a kind that is hidden counts as a client's. Superusers are
/// held to nothing but `max_connections`.
const CONNECTIONS: &str = "
SELECT current_setting('max_connections')::bigint,
  CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::bigint
    + CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles p WHERE p.rolname = 'pg_use_reserved_connections'
      AND pg_catalog.pg_has_role(p.oid, 'USAGE')) THEN 0
      ELSE coalesce(current_setting('reserved_connections', true), '0')::bigint END END,
  CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END::bigint, CASE WHEN r.rolsuper THEN -1 ELSE d.datconnlimit END::bigint,
  count(a.pid), count(a.pid) FILTER (WHERE a.usesysid = r.oid), count(a.pid) FILTER (WHERE a.datid = d.oid)
FROM pg_catalog.pg_roles r, pg_catalog.pg_database d, pg_catalog.pg_stat_activity a
WHERE r.rolname = session_user AND d.datname = current_database()
  AND a.usesysid IS NOT NULL AND a.datid IS NOT NULL AND coalesce(a.backend_type, 'client backend') = 'client backend'
GROUP BY r.oid, r.rolsuper, r.rolconnlimit, d.oid, d.datconnlimit";

pub(super) async fn connections(link: &Link) -> Result<Vec<Check>, Error> {
    let row = one(link, CONNECTIONS).await?;
    let number = |index| row.try_get::<_, i64>(index);
    let (most, reserved, used) = (number(0)?, number(1)?, number(4)?);
    let (of_user, of_database) = (number(2)?, number(3)?);
    let mut free = most - reserved - used;
    let mut parts = vec![format!("{used} of {most} in use")];
    if reserved > 0 {
        parts.push(format!("{reserved} reserved for others"));
    }
    for (limit, used, whose) in [(of_user, number(5)?, "this user"), (of_database, number(6)?, "this database")] {
        // Negative is no limit.
        if limit >= 0 {
            free = free.min(limit - used);
            parts.push(format!("{used} of {limit} of {whose}"));
        }
    }
    let found = format!("{}: {} free", parts.join(", "), free.max(0));
    Ok(vec![if free < FREE_CONNECTIONS {
        let advice = "raise max_connections, or the CONNECTION LIMIT of this user or database; or end sessions that \
                      nobody needs";
        Check::warning("connections", found, advice)
    } else {
        Check::ok("connections", found)
    }])
}

/// The server's clock against ours, as of the middle of the round trip.
pub(super) async fn clock(link: &Link) -> Result<Vec<Check>, Error> {
    let (before, begun) = (Timestamp::now(), Instant::now());
    let row = one(link, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await?;
    let half = begun.elapsed().as_secs_f64() / 2.0;
    let theirs: i64 = row.try_get(0)?;
    Ok(vec![judged_clock((theirs - before.as_micros()) as f64 / 1e6 - half)])
}

/// Judges how many seconds the server's clock is ahead of ours.
fn judged_clock(ahead: f64) -> Check {
    let found = format!("{:.3} s {} this machine's", ahead.abs(), if ahead < 0.0 { "behind" } else { "ahead of" });
    let advice = "synchronise both clocks (NTP): where the newer of two versions wins, the clock decides";
    match ahead.abs() {
        off if off >= CLOCK_CRITICAL.as_secs_f64() => Check::critical("clock", found, advice),
        off if off >= CLOCK_WARNING.as_secs_f64() => Check::warning("clock", found, advice),
        _ => Check::ok("clock", found),
    }
}

pub(super) async fn temporary_tables(link: &Link) -> Result<Vec<Check>, Error> {
    let sql = "SELECT current_database()::text, current_user::text, \
               has_database_privilege(current_database(), 'TEMPORARY')";
    let row = one(link, sql).await?;
    let (database, user): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    Ok(vec![if row.try_get(2)? {
        Check::ok("temporary tables", "may be made")
    } else {
        let advice = format!("GRANT TEMPORARY ON DATABASE {} TO {}", Quoted(&database), grantee(&user));
        Check::critical("temporary tables", "may not be made; large batches are staged in them", advice)
    }])
}

/// The limits as this session has them: whatever server, database, user and address say.
pub(super) async fn limits(link: &Link) -> Result<Vec<Check>, Error> {
    let names: Vec<&str> = SHORTEST_LIMITS.iter().map(|(name, _)| *name).collect();
    let rows = link
        .query_typed(
            "SELECT name, setting::bigint, current_setting(name) FROM pg_catalog.pg_settings WHERE name = ANY ($1)",
            &[(&names, Type::TEXT_ARRAY)],
        )
        .await?;
    let mut shown = Vec::new();
    let mut checks = Vec::new();
    for (name, shortest) in SHORTEST_LIMITS {
        let Some(row) = rows.iter().find(|row| row.try_get::<_, &str>(0).is_ok_and(|there| there == name)) else {
            continue;
        };
        checks.extend(judged_limit(name, shortest, row)?);
        let value: String = row.try_get(2)?;
        if value != "0" {
            shown.push(format!("{name} {value}"));
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok("limits", if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }));
    }
    Ok(checks)
}

fn judged_limit(name: &str, shortest: Duration, row: &Row) -> Result<Option<Check>, Error> {
    let millis: i64 = row.try_get(1)?;
    if millis == 0 || u128::from(millis.unsigned_abs()) >= shortest.as_millis() {
        return Ok(None);
    }
    let value: String = row.try_get(2)?;
    let found = format!("{name} is {value}, too short for a batch");
    let seconds = shortest.as_secs();
    let advice =
        format!("raise it to {seconds}s or more: in the hub's URL if it says so, else ALTER ROLE … SET {name}");
    Ok(Some(Check::warning("limits", found, advice)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::doctor::Severity;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off_and_not_by_its_direction() {
        for (ahead, severity) in [
            (0.0, Severity::Ok),
            (-4.9, Severity::Ok),
            (5.0, Severity::Warning),
            (-299.0, Severity::Warning),
            (300.0, Severity::Critical),
            (-86_400.0, Severity::Critical),
        ] {
            let check = judged_clock(ahead);
            assert_eq!(check.severity, severity, "{ahead}");
            assert_eq!(check.found.contains("behind"), ahead < 0.0, "{}", check.found);
            assert_eq!(check.advice.is_some(), severity != Severity::Ok);
        }
    }
}
