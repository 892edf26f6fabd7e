//! Looking a hub over: what is in order, what is not, and what to do about it.

use std::time::Instant;

use aqe_sync_core::{Environment, Identifier, Quoted, Result, Timestamp, tables};
use postgres_types::Type;
use serde::Serialize;
use tokio_postgres::{Client, Error, Row};

use super::connections::Dialing;
use super::hub::HubBuilder;
use super::link::{Address, Link};
use super::schema::{self, Mode};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Critical,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do; nothing when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    /// Says that something is in order.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, severity: Severity::Ok, found: found.into(), advice: None }
    }

    /// Says that something should be looked at.
    pub fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, severity: Severity::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    /// Says that something does not work.
    pub fn critical(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, severity: Severity::Critical, found: found.into(), advice: Some(advice.into()) }
    }
}

/// A clock that is further off than this, in seconds, makes "newer" a matter of luck.
const CLOCK_WARNING: f64 = 5.0;
const CLOCK_CRITICAL: f64 = 300.0;

/// Looks a hub over. Changes nothing, and goes on after a problem where it can.
pub fn examine(builder: HubBuilder) -> Vec<Check> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Check::critical("connection", error.to_string(), "free some memory and threads")],
    };
    let (dialing, schema) = builder.into_parts();
    runtime.block_on(look(&dialing, &schema))
}

async fn look(dialing: &Dialing, schema: &Identifier) -> Vec<Check> {
    let address = &dialing.address;
    let mut checks: Vec<Check> = address
        .warnings()
        .iter()
        .map(|warning| Check::warning("password file", warning, "run chmod 600 on it"))
        .collect();
    let link = match dialing.bare().await {
        Ok(link) => link,
        Err(error) => {
            checks.push(Check::critical("connection", error.to_string(), "nothing else could be looked at"));
            return checks;
        }
    };
    checks.push(Check::ok("connection", format!("logged in to {}", address.shown())));
    for (name, asked) in [
        ("encryption", encryption(&link, address).await),
        ("server", server(&link).await),
        ("clock", clock(&link).await),
        ("privileges", privileges(&link).await),
        ("locks", locks(&link, schema).await),
    ] {
        checks.extend(answered(&link, name, asked));
    }
    hub(&link, schema, &mut checks).await;
    checks
}

/// What a question brought, or why it could not be asked.
fn answered(link: &Link, name: &'static str, asked: Result<Vec<Check>, Error>) -> Vec<Check> {
    asked.unwrap_or_else(|error| {
        let error = link.fault("asking the server", error);
        vec![Check::warning(name, error.to_string(), "this could not be looked at")]
    })
}

async fn encryption(link: &Link, address: &Address) -> Result<Vec<Check>, Error> {
    let row =
        one(link, "SELECT ssl, version FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()").await?;
    let encrypted: bool = row.try_get(0)?;
    let host = address.host();
    let local = host.starts_with('/') || ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
    Ok(vec![if encrypted {
        let version: Option<String> = row.try_get(1)?;
        Check::ok("encryption", version.unwrap_or_else(|| "TLS".to_owned()))
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

async fn server(link: &Link) -> Result<Vec<Check>, Error> {
    let row = one(
        link,
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int, \
         current_setting('server_encoding'), pg_catalog.pg_is_in_recovery(), \
         current_setting('default_transaction_read_only') = 'on', current_setting('max_connections')::bigint, \
         (SELECT count(pid) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'), \
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
        Check::critical(
            "encoding",
            format!("{encoding}, which cannot hold all text"),
            "use a database made with ENCODING 'UTF8'",
        )
    });
    if row.try_get(3)? {
        checks.push(Check::critical(
            "writing",
            "the server is a standby and takes no writes",
            "use the address of the primary",
        ));
    } else if row.try_get(4)? {
        let advice = "set default_transaction_read_only to off for this user or database";
        checks.push(Check::warning("writing", "sessions are read-only unless they say otherwise", advice));
    }
    let (most, now): (i64, i64) = (row.try_get(5)?, row.try_get(6)?);
    let found = format!("{now} of {most} in use");
    checks.push(if most - now < 5 {
        Check::warning("connections", found, "raise max_connections, or end sessions that nobody needs")
    } else {
        Check::ok("connections", found)
    });
    checks.push(if row.try_get(7)? {
        Check::ok("compression", "lz4")
    } else {
        Check::ok("compression", "pglz: this server was built without lz4, so large values take longer to store")
    });
    Ok(checks)
}

/// The server's clock against ours, as of the middle of the round trip.
async fn clock(link: &Link) -> Result<Vec<Check>, Error> {
    let (before, begun) = (Timestamp::now(), Instant::now());
    let row = one(link, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await?;
    let half = begun.elapsed().as_secs_f64() / 2.0;
    let theirs: i64 = row.try_get(0)?;
    let off = (theirs - before.as_micros()) as f64 / 1e6 - half;
    let found = format!("{:.3} s {} this machine's", off.abs(), if off < 0.0 { "behind" } else { "ahead of" });
    let advice = "synchronise both clocks (NTP): where the newer of two versions wins, the clock decides";
    Ok(vec![match off.abs() {
        off if off >= CLOCK_CRITICAL => Check::critical("clock", found, advice),
        off if off >= CLOCK_WARNING => Check::warning("clock", found, advice),
        _ => Check::ok("clock", found),
    }])
}

async fn privileges(link: &Link) -> Result<Vec<Check>, Error> {
    let row = one(
        link,
        "SELECT current_database(), current_user::text, has_database_privilege(current_database(), 'TEMPORARY'), \
         current_setting('statement_timeout'), current_setting('lock_timeout')",
    )
    .await?;
    let (database, user): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let mut checks = vec![if row.try_get(2)? {
        Check::ok("temporary tables", "may be made")
    } else {
        let advice = format!("GRANT TEMPORARY ON DATABASE {} TO {}", Quoted(&database), Quoted(&user));
        Check::critical("temporary tables", "may not be made; large batches are staged in them", advice)
    }];
    let (statement, lock): (String, String) = (row.try_get(3)?, row.try_get(4)?);
    checks.push(Check::ok("limits", format!("statement_timeout {statement}, lock_timeout {lock}")));
    Ok(checks)
}

async fn locks(link: &Link, schema: &Identifier) -> Result<Vec<Check>, Error> {
    let rows = link
        .query_typed(
            "SELECT a.pid, a.usename::text, coalesce(a.application_name, ''), \
             extract(epoch FROM now() - a.xact_start)::bigint, string_agg(DISTINCT c.relname::text, ', ') \
             FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE n.nspname = $1 AND l.granted AND a.pid <> pg_catalog.pg_backend_pid() \
             AND l.mode IN ('RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') \
             AND a.xact_start < now() - interval '1 minute' GROUP BY 1, 2, 3, 4",
            &[(&schema.as_str(), Type::TEXT)],
        )
        .await?;
    if rows.is_empty() {
        return Ok(vec![Check::ok("locks", "nobody holds the hub's tables")]);
    }
    let check = |row: &Row| {
        let (pid, user): (i32, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let (program, seconds, tables): (String, i64, String) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        let user = user.unwrap_or_default();
        let found = format!("session {pid} ({user} {program}) has held {tables} for {seconds} s");
        Ok(Check::warning("locks", found, format!("end its transaction, or SELECT pg_terminate_backend({pid})")))
    };
    rows.iter().map(check).collect()
}

async fn hub(link: &Link, name: &Identifier, checks: &mut Vec<Check>) {
    let opened = match schema::open(link, name, Mode::Inspect).await {
        Ok(opened) => opened,
        Err(error) => {
            checks.push(Check::critical("hub", error.to_string(), "run aqe-sync init once the cause is mended"));
            return;
        }
    };
    checks.push(Check::ok(
        "hub",
        format!("{} in schema {name}, vectors in {}", opened.id(), opened.flavour().kind().as_str()),
    ));
    checks.extend(opened.warnings().iter().map(|warning| Check::warning("hub", warning, "see above")));
    let missing = tables::all().iter().filter(|table| opened.present().table(table.name().as_str()).is_none()).count();
    if missing > 0 {
        checks.push(Check::ok("tables", format!("{missing} are not made yet; the first sync that needs one makes it")));
    }
    checks.extend(answered(link, "tables", denied(link, name).await));
    checks.extend(answered(link, "environments", shared_names(link, name).await));
}

/// Tables that this user may not read and write.
async fn denied(link: &Link, schema: &Identifier) -> Result<Vec<Check>, Error> {
    let rows = link
        .query_typed(
            "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT (has_table_privilege(c.oid, 'SELECT') \
             AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')) ORDER BY 1",
            &[(&schema.as_str(), Type::TEXT)],
        )
        .await?;
    if rows.is_empty() {
        return Ok(vec![Check::ok("tables", "may be read and written")]);
    }
    let names = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, Error>>()?;
    let advice = format!("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {} TO this user", schema.quoted());
    Ok(vec![Check::critical("tables", format!("no access to {}", names.join(", ")), advice)])
}

/// Environments that more than one installation writes to.
async fn shared_names(link: &Link, schema: &Identifier) -> Result<Vec<Check>, Error> {
    let sql = format!(
        "SELECT source_env, string_agg(DISTINCT instance, ', ' ORDER BY instance) FROM {}.sync_state \
         WHERE instance <> '' GROUP BY 1 HAVING count(DISTINCT instance) > 1 ORDER BY 1",
        schema.quoted()
    );
    let rows = link.query_typed(&sql, &[]).await?;
    let check = |row: &Row| {
        let (environment, instances): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let environment = Environment::new(environment);
        let found = format!("{environment} is written by several installations: {instances}");
        Ok(Check::warning("environments", found, "give each a name of its own with --env or AQE_ENV"))
    };
    rows.iter().map(check).collect()
}

async fn one(client: &Client, sql: &str) -> Result<Row, Error> {
    client.query_typed_one(sql, &[]).await
}
