//! Why a hub cannot be opened or made, in plain words.

use aqe_sync_core::{Error, ErrorKind, Identifier, Quoted, Result, Retry};
use tokio_postgres::error::SqlState;

use super::flavour::Flavour;
use super::migrate;
use super::present::{Access, Rules, Server, Survey};

/// The oldest server, as `server_version_num`.
const OLDEST: i32 = 140_000;

/// Whether there is a hub that this program can read.
pub(super) fn check_readable(survey: &Survey, schema: &Identifier) -> Result<()> {
    let server = &survey.server;
    if server.version < OLDEST {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!("the server is PostgreSQL {}, too old for a hub", server.version_text),
        )
        .during("opening the hub")
        .context("database", &server.database)
        .advice("use PostgreSQL 14 or newer"));
    }
    if server.access == Access::Nothing {
        return Err(denied(server, "may not use the schema", schema, &format!("USAGE ON SCHEMA {}", schema.quoted())));
    }
    Ok(())
}

/// There is none.
pub(super) fn no_hub(server: &Server, schema: &Identifier) -> Error {
    Error::new(ErrorKind::NotFound, "there is no hub")
        .during("opening the hub")
        .context("database", &server.database)
        .context("schema", schema)
        .advice("run aqe-sync init to make one")
}

/// Whether this user may make or upgrade a hub here.
pub(super) fn check_writable(survey: &Survey, schema: &Identifier) -> Result<()> {
    let server = &survey.server;
    if server.read_only {
        return Err(read_only(server));
    }
    if server.access == Access::Absent && !server.may_create_schema {
        let grant = format!("CREATE ON DATABASE {}", Quoted(&server.database));
        return Err(denied(server, "may not create the schema", schema, &grant));
    }
    if server.rules == Rules::Other {
        let what = "the hub is older than this program, and only its owner may upgrade it";
        return Err(owner_first(server, what, schema));
    }
    if server.access == Access::Use {
        let grant = format!("CREATE ON SCHEMA {}", schema.quoted());
        return Err(denied(server, "may not create tables in the schema", schema, &grant));
    }
    if survey.info.is_empty()
        && let Some(table) = migrate::OWN_TABLES.iter().find(|table| survey.present.table(table).is_some())
    {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!("there is a table {table} already, and aqe-sync did not make it"),
        )
        .during("making the hub")
        .context("database", &server.database)
        .context("schema", schema)
        .advice("nothing was changed; choose another schema for the hub"));
    }
    Ok(())
}

/// Environments are kept apart, and this user is not the one to change the schema.
pub(super) fn owner_first(server: &Server, what: &str, schema: &Identifier) -> Error {
    Error::new(ErrorKind::PermissionDenied, what)
        .during("opening the hub")
        .context("login", &server.user)
        .context("schema", schema)
        .advice("nothing was changed; have the hub's owner run aqe-sync init with this version of aqe-sync")
}

/// The server does not take writes.
pub(super) fn read_only(server: &Server) -> Error {
    let (what, advice) = if server.standby {
        ("the server is a standby, and so read-only", "connect to its primary server: only reading works here")
    } else {
        ("the server is read-only", "set default_transaction_read_only to off, or connect to the primary server")
    };
    Error::new(ErrorKind::PermissionDenied, what)
        .during("preparing the hub")
        .context("database", &server.database)
        .advice(advice)
}

/// Columns are gone that the hub had.
pub(super) fn lost(columns: &[String], flavour: &Flavour, schema: &Identifier) -> Error {
    let extension = flavour.kind().as_str();
    let then = "run aqe-sync init, which makes them anew; the next sync of each environment then fills them from its \
                sources";
    let (why, advice) = if flavour.is_usable() {
        ("somebody dropped them, or dropped the extension of their type".to_owned(), then.to_owned())
    } else {
        (
            format!("the extension {extension} was dropped from the database, and they went with it"),
            format!("have a superuser run CREATE EXTENSION {extension}, then {then}"),
        )
    };
    Error::new(ErrorKind::Incompatible, format!("the hub has lost columns: {}; {why}", columns.join(", ")))
        .during("opening the hub")
        .context("schema", schema)
        .advice(advice)
}

fn denied(server: &Server, what: &str, schema: &Identifier, grant: &str) -> Error {
    Error::new(ErrorKind::PermissionDenied, format!("user {} {what}", server.user))
        .during("opening the hub")
        .context("database", &server.database)
        .context("schema", schema)
        .advice(format!("have the owner run: GRANT {grant} TO {}", Quoted(&server.user)))
}

/// What the server said to a statement about the schema.
pub(super) fn failed(doing: &str, schema: &Identifier, cause: tokio_postgres::Error) -> Error {
    let said = cause.as_db_error().map_or_else(|| cause.to_string(), |error| error.message().to_owned());
    let code = cause.code();
    let is = |state: SqlState| code == Some(&state);
    let (kind, advice, retry) = if is(SqlState::INSUFFICIENT_PRIVILEGE) {
        let advice = "run aqe-sync init as the owner of the schema, who then grants SELECT, INSERT, UPDATE and DELETE \
                      on its tables to those who sync";
        (ErrorKind::PermissionDenied, advice, Retry::Never)
    } else if is(SqlState::READ_ONLY_SQL_TRANSACTION) {
        (ErrorKind::PermissionDenied, "connect to the primary server", Retry::Never)
    } else if is(SqlState::LOCK_NOT_AVAILABLE) || is(SqlState::T_R_DEADLOCK_DETECTED) {
        (ErrorKind::Locked, "somebody else is changing the schema: try again", Retry::Later)
    } else if cause.is_closed() || code.is_none() {
        (ErrorKind::Io, "the connection was lost; nothing is half done: try again", Retry::Later)
    } else {
        (ErrorKind::Io, "nothing was changed; see what the server said", Retry::Never)
    };
    let state = code.map(|code| format!(" (SQLSTATE {})", code.code())).unwrap_or_default();
    Error::new(kind, format!("{said}{state}"))
        .during(doing)
        .context("schema", schema)
        .advice(advice)
        .retry(retry)
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::postgres::schema::present::Present;

    #[test]
    fn a_server_that_is_too_old_is_refused_with_the_version_to_use() {
        let survey = |version: i32, text: &str| Survey {
            server: Server {
                version,
                version_text: text.to_owned(),
                read_only: false,
                standby: false,
                database: "agents".to_owned(),
                user: "me".to_owned(),
                may_create_schema: true,
                access: Access::Create,
                rules: Rules::None,
            },
            present: Present::default(),
            extensions: Vec::new(),
            vector_indexes: Vec::new(),
            info: BTreeMap::new(),
            applied: Vec::new(),
            own: None,
        };
        let schema = Identifier::new("aqe").unwrap();
        let said = check_readable(&survey(130_014, "13.14"), &schema).unwrap_err().to_string();
        assert!(said.contains("13.14") && said.contains("14 or newer"), "{said}");
        check_readable(&survey(140_000, "14.0"), &schema).unwrap();
    }
}
