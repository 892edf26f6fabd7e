//! The hub itself: whether it is there, whole, and this user's to write.

use aqe_sync_core::{Environment, ErrorKind, Identifier, Result, tables};
use postgres_types::Type;
use tokio_postgres::{Error, Row};

use super::{Check, answered, grantee};
use crate::postgres::link::Link;
use crate::postgres::schema::{self, Mode, Writer};

pub(super) async fn hub(link: &Link, name: &Identifier, checks: &mut Vec<Check>) {
    let opened = match schema::open(link, name, Mode::Inspect).await {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            checks.extend(answered(link, "hub", absent(link, name).await));
            return;
        }
        Err(error) => {
            checks.push(Check::critical("hub", error.to_string(), "see the message"));
            return;
        }
    };
    let found = format!("{} in schema {name}, vectors in {}", opened.id(), opened.flavour().kind().as_str());
    checks.push(Check::ok("hub", found));
    let lost = !opened.lost_columns().is_empty();
    checks.extend(opened.warnings().iter().map(|warning| {
        // The message says it all.
        if lost && warning.contains("lost columns") {
            Check::critical("hub", warning, "until then nothing is synced or compared")
        } else {
            Check::warning("hub", warning, "see the message")
        }
    }));
    let missing = tables::all().iter().filter(|table| opened.present().table(table.name().as_str()).is_none()).count();
    if missing > 0 {
        checks.extend(answered(link, "tables", unmade(link, name, missing).await));
    }
    checks.extend(answered(link, "tables", denied(link, &opened).await));
    checks.push(writes(&opened));
    checks.extend(answered(link, "size", size(link, name).await));
    checks.extend(answered(link, "environments", shared_names(link, name).await));
}

/// There is no hub: whether this user may make one.
async fn absent(link: &Link, schema: &Identifier) -> Result<Vec<Check>, Error> {
    let sql = "SELECT coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace \
               WHERE nspname = $1), has_database_privilege(current_database(), 'CREATE')), current_user::text, \
               EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1), \
               pg_catalog.quote_ident(current_database())";
    let row = link.query_typed_one(sql, &[(&schema.as_str(), Type::TEXT)]).await?;
    let found = format!("there is none yet in schema {schema}");
    if row.try_get(0)? {
        return Ok(vec![Check::ok("hub", format!("{found}; the first sync makes it"))]);
    }
    let (user, database): (String, String) = (row.try_get(1)?, row.try_get(3)?);
    let place = if row.try_get(2)? { format!("SCHEMA {}", schema.quoted()) } else { format!("DATABASE {database}") };
    let advice = format!("GRANT CREATE ON {place} TO {}, or have somebody who may run aqe-sync init", grantee(&user));
    Ok(vec![Check::critical("hub", format!("{found}, and this user may not make it"), advice)])
}

/// Tables of the catalogue are not there: whether this user may make them.
async fn unmade(link: &Link, schema: &Identifier, missing: usize) -> Result<Vec<Check>, Error> {
    let sql = "SELECT has_schema_privilege($1, 'CREATE')";
    let row = link.query_typed_one(sql, &[(&schema.as_str(), Type::TEXT)]).await?;
    Ok(vec![if row.try_get(0)? {
        Check::ok("tables", format!("{missing} are not made yet; the first sync that needs one makes it"))
    } else {
        let found = format!("{missing} are not made yet, and this user may not make them");
        Check::warning("tables", found, "have the owner of the schema run aqe-sync init")
    }])
}

/// Tables that this user may not read and write; an environment's login writes to fewer of
/// them, and changes what it wrote in fewer still.
async fn denied(link: &Link, hub: &schema::Hub) -> Result<Vec<Check>, Error> {
    let schema = hub.schema();
    let everywhere = ["SELECT", "INSERT", "UPDATE"];
    let (tables, wanted): (&[&str], _) = match hub.writer() {
        Writer::Any => (&[], everywhere),
        Writer::Only(_) | Writer::Revoked(_) | Writer::Nobody => (schema::READ_ONLY, ["SELECT", "INSERT", "INSERT"]),
    };
    let [select, insert, update] = wanted;
    let rows = link
        .query_typed(
            "SELECT c.relname::text, current_user::text FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname <> $6 \
             AND NOT (has_table_privilege(c.oid, $2) \
             AND (c.relname = ANY ($5) OR has_table_privilege(c.oid, $3) AND has_table_privilege(c.oid, $4))) ORDER BY 1",
            &[
                (&schema.as_str(), Type::TEXT),
                (&select, Type::TEXT),
                (&insert, Type::TEXT),
                (&update, Type::TEXT),
                (&tables, Type::TEXT_ARRAY),
                (&schema::ENVIRONMENTS, Type::TEXT),
            ],
        )
        .await?;
    let Some(first) = rows.first() else { return Ok(vec![Check::ok("tables", "may be read and written")]) };
    let user: String = first.try_get(1)?;
    let names = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, Error>>()?;
    let advice = if hub.is_guarded() {
        "have the hub's owner run aqe-sync init, and aqe-sync env create NAME with this environment's name".to_owned()
    } else {
        format!("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {} TO {}", schema.quoted(), grantee(&user))
    };
    Ok(vec![Check::critical("tables", format!("no access to {}", names.join(", ")), advice)])
}

/// Whose rows the login may write.
fn writes(hub: &schema::Hub) -> Check {
    let create = "have the hub's owner run aqe-sync env create NAME with this environment's name";
    match hub.writer() {
        Writer::Any if hub.is_guarded() => Check::ok("isolation", "on; this login may write every environment"),
        Writer::Any => Check::ok("isolation", "off: every login that may write the tables writes any environment"),
        Writer::Only(own) => Check::ok("isolation", format!("on; this login may write environment {own} only")),
        Writer::Revoked(own) => Check::critical(
            "isolation",
            format!("this login's environment {own} was revoked: it writes nothing"),
            create,
        ),
        Writer::Nobody => {
            Check::critical("isolation", "on, and this login belongs to no environment: it writes nothing", create)
        }
    }
}

/// What the schema takes on disk, indexes and large values included.
async fn size(link: &Link, schema: &Identifier) -> Result<Vec<Check>, Error> {
    let sql = "SELECT pg_catalog.pg_size_pretty(coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)) \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relkind IN ('r', 'm')";
    let row = link.query_typed_one(sql, &[(&schema.as_str(), Type::TEXT)]).await?;
    Ok(vec![Check::ok("size", format!("{} on the server's disk", row.try_get::<_, String>(0)?))])
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
