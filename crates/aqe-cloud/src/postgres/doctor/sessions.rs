//! What other sessions do that a sync waits for, or that lets the hub's tables grow.
//!
//! A user sees what its own sessions do, and that there are others; what those do is for
//! members of `pg_read_all_stats` to see. What is hidden is said to be unknown.

use std::time::Duration;

use aqe_sync_core::{Identifier, Result};
use postgres_types::Type;
use tokio_postgres::{Error, Row};

use super::thresholds::Thresholds;
use super::{Check, grantee};
use crate::postgres::link::Link;

/// Session, user, program, seconds since it began or NULL where that is hidden, tables,
/// our user.
const LOCKS: &str = "
SELECT a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
  extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, string_agg(DISTINCT c.relname::text, ', '),
  current_user::text
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE n.nspname = $1 AND l.granted AND a.pid <> pg_catalog.pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.mode IN ('RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
    'AccessExclusiveLock')
GROUP BY 1, 2, 3, 4
ORDER BY 1";

pub(super) async fn locks(link: &Link, schema: &Identifier, thresholds: &Thresholds) -> Result<Vec<Check>, Error> {
    let rows = link.query_typed(LOCKS, &[(&schema.as_str(), Type::TEXT)]).await?;
    let longest = thresholds.lock_held;
    let mut checks = Vec::new();
    for row in &rows {
        let (session, tables) = (Session::of(row)?, row.try_get::<_, String>(4)?);
        let pid = session.pid;
        match session.seconds {
            Some(seconds) if !longer(seconds, longest) => {}
            Some(seconds) => checks.push(Check::warning(
                "locks",
                format!("{} has held {tables} for {seconds} s", session.shown()),
                format!("end its transaction, or SELECT pg_terminate_backend({pid})"),
            )),
            None => checks.push(hidden("locks", &session, &format!("holds {tables}"))),
        }
    }
    if checks.is_empty() {
        let found = format!("nobody has held the hub's tables for over {} s", longest.as_secs());
        checks.push(Check::ok("locks", found));
    }
    Ok(checks)
}

/// As [`LOCKS`]: sessions of this database that see it as it was, or are in the middle of
/// writing, which is visible to all; then transactions that were prepared and left.
const TRANSACTIONS: &str = "
SELECT a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
  extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, NULL::text, current_user::text
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
  AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
UNION ALL
SELECT 0, p.owner::text, '', extract(epoch FROM clock_timestamp() - p.prepared)::bigint, quote_literal(p.gid),
  current_user::text
FROM pg_catalog.pg_prepared_xacts p
WHERE p.database = current_database()
ORDER BY 1";

pub(super) async fn transactions(link: &Link, thresholds: &Thresholds) -> Result<Vec<Check>, Error> {
    let rows = link.query_typed(TRANSACTIONS, &[]).await?;
    let longest = thresholds.long_transaction;
    let mut checks = Vec::new();
    for row in &rows {
        let (session, prepared) = (Session::of(row)?, row.try_get::<_, Option<String>>(4)?);
        let Some(seconds) = session.seconds else {
            checks.push(hidden("transactions", &session, "has a transaction open"));
            continue;
        };
        if !longer(seconds, longest) {
            continue;
        }
        let holds = format!("open for {seconds} s holds back vacuum");
        checks.push(match prepared {
            Some(gid) => Check::warning(
                "transactions",
                format!("the prepared transaction {gid} of {}, {holds}", session.user),
                format!("COMMIT PREPARED {gid}, or ROLLBACK PREPARED {gid}"),
            ),
            None => Check::warning(
                "transactions",
                format!("a transaction of {}, {holds}", session.shown()),
                format!("end it, or SELECT pg_terminate_backend({})", session.pid),
            ),
        });
    }
    if checks.is_empty() {
        checks.push(Check::ok("transactions", format!("none is open for over {} min", longest.as_secs() / 60)));
    }
    Ok(checks)
}

struct Session {
    pid: i32,
    user: String,
    program: String,
    /// `None` where this user may not see it.
    seconds: Option<i64>,
    ours: String,
}

impl Session {
    fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            pid: row.try_get(0)?,
            user: row.try_get(1)?,
            program: row.try_get(2)?,
            seconds: row.try_get(3)?,
            ours: row.try_get(5)?,
        })
    }

    fn shown(&self) -> String {
        let gap = if self.program.is_empty() { "" } else { " " };
        format!("session {} ({}{gap}{})", self.pid, self.user, self.program)
    }
}

fn longer(seconds: i64, longest: Duration) -> bool {
    u64::try_from(seconds).is_ok_and(|seconds| seconds >= longest.as_secs())
}

fn hidden(name: &'static str, session: &Session, what: &str) -> Check {
    let found = format!("{} {what}, and this user may not see since when", session.shown());
    let advice = format!("have a superuser run GRANT pg_read_all_stats TO {}, and look again", grantee(&session.ours));
    Check::unknown(name, found, advice)
}
