//! What the server's error codes mean to somebody who syncs.

use aqe_sync_core::{Error, ErrorKind, Retry};
use tokio_postgres::error::{DbError, SqlState};

use super::address::Address;

/// A server's detail may quote a whole row.
const LONGEST_DETAIL: usize = 300;

/// Says plainly what the server refused, with its own words where they add something.
pub(super) fn explained(address: &Address, error: &DbError) -> Error {
    let (kind, retry, what, advice) = meaning(address, error);
    let mut plain = Error::new(kind, what).retry(retry);
    if let Some(advice) = advice {
        plain = plain.advice(advice);
    }
    plain = plain.context("SQLSTATE", error.code().code());
    if let Some(detail) = error.detail() {
        plain = plain.context("detail", shortened(detail));
    }
    if let Some(hint) = error.hint() {
        plain = plain.context("hint", shortened(hint));
    }
    plain
}

type Meaning = (ErrorKind, Retry, String, Option<String>);

fn meaning(address: &Address, error: &DbError) -> Meaning {
    login(address, error)
        .or_else(|| state_of_server(error))
        .or_else(|| contention(error))
        .or_else(|| schema(address, error))
        .unwrap_or_else(|| (ErrorKind::Io, Retry::Never, format!("the server refused it: {}", error.message()), None))
}

fn login(address: &Address, error: &DbError) -> Option<Meaning> {
    let (user, database) = (address.user(), address.database());
    let code = error.code();
    let denied =
        |what: String, advice: &str| Some((ErrorKind::PermissionDenied, Retry::Never, what, Some(advice.to_owned())));
    if *code == SqlState::INVALID_PASSWORD {
        return denied(
            format!("the server did not accept the password of user {user:?}"),
            &match address.password_origin() {
                Some(origin) => format!("check the password that came from {origin}"),
                None => "check the password in the hub's URL, in PGPASSWORD or in the password file".to_owned(),
            },
        );
    }
    if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        return denied(
            format!("the server does not let user {user:?} in: {}", error.message()),
            "check the user's name; if it is right, the server's pg_hba.conf needs a line that fits this user, \
             database, address and the use of TLS",
        );
    }
    if *code == SqlState::INVALID_CATALOG_NAME {
        let what = format!("there is no database {database:?} on this server");
        let advice = "correct the hub's address, or create the database (CREATE DATABASE, as somebody who may)";
        return Some((ErrorKind::NotFound, Retry::Never, what, Some(advice.to_owned())));
    }
    if *code == SqlState::PROTOCOL_VIOLATION && error.message().contains("startup parameter") {
        let what = format!("something between here and the server took offence: {}", error.message());
        let advice =
            "a connection pooler must let the startup parameter `options` through; or connect to the server itself";
        return Some((ErrorKind::Invalid, Retry::Never, what, Some(advice.to_owned())));
    }
    None
}

fn state_of_server(error: &DbError) -> Option<Meaning> {
    let later =
        |what: &str, advice: &str| Some((ErrorKind::Io, Retry::Later, what.to_owned(), Some(advice.to_owned())));
    let again = "try again when it is up; what was committed is stored, and the next run goes on from there";
    match error.code().code() {
        "57P01" => later("the server is shutting down, or an administrator ended this session", again),
        "57P02" => later("the server crashed and is recovering", again),
        "57P03" => later("the server is starting up or shutting down", again),
        "57P05" | "25P03" => later("the server ended this session because it was idle for too long", again),
        "53300" => later(
            "the server takes no more connections",
            "end other sessions, or raise max_connections on the server or the limit of this user or database",
        ),
        "53200" => later(
            "the server is out of memory",
            "try again; if it stays, lower work_mem or maintenance_work_mem on the server, or give it more memory",
        ),
        "53100" => Some((
            ErrorKind::Io,
            Retry::Never,
            format!("the server's disk is full: {}", error.message()),
            Some("make room there and sync again: what was committed is stored, and the rest follows".to_owned()),
        )),
        "25006" => Some((
            ErrorKind::PermissionDenied,
            Retry::Never,
            "the server takes no writes".to_owned(),
            Some(
                "connect to the primary server and not to a standby, or look why default_transaction_read_only is on"
                    .to_owned(),
            ),
        )),
        // What setting a transaction to READ WRITE is answered with there; the message may be in any language.
        "0A000" if error.routine() == Some("call_bool_check_hook") => Some((
            ErrorKind::PermissionDenied,
            Retry::Never,
            format!("the server is a standby, and so read-only: {}", error.message()),
            Some("connect to its primary server: only reading works here".to_owned()),
        )),
        code if code.starts_with("08") => later(&format!("the connection failed: {}", error.message()), again),
        _ => None,
    }
}

fn contention(error: &DbError) -> Option<Meaning> {
    let locked =
        |retry: Retry, what: String, advice: &str| Some((ErrorKind::Locked, retry, what, Some(advice.to_owned())));
    match error.code().code() {
        "40001" | "40P01" => locked(
            Retry::Later,
            format!("somebody else's transaction got in the way: {}", error.message()),
            "nothing of this batch was stored; try again",
        ),
        "55P03" => locked(
            Retry::Later,
            "somebody else holds a lock on what was to be written".to_owned(),
            "see who in pg_locks and pg_stat_activity; or wait longer, with lock_timeout=5min in the hub's URL",
        ),
        "57014" => Some((
            ErrorKind::Io,
            Retry::Never,
            format!("the server stopped the statement: {}", error.message()),
            Some("if it needs more time, give it with statement_timeout=30min in the hub's URL".to_owned()),
        )),
        _ => None,
    }
}

fn schema(address: &Address, error: &DbError) -> Option<Meaning> {
    let message = error.message();
    let some = |kind: ErrorKind, what: String, advice: &str| Some((kind, Retry::Never, what, Some(advice.to_owned())));
    match error.code().code() {
        "42501" => some(
            ErrorKind::PermissionDenied,
            format!("user {:?} may not do this: {message}", address.user()),
            "let an owner of the hub grant it; `aqe-sync doctor` lists what is needed",
        ),
        "3F000" | "42P01" => some(
            ErrorKind::NotFound,
            format!("the hub's tables are not all there: {message}"),
            "run `aqe-sync init`, which makes what is missing",
        ),
        "42703" => some(
            ErrorKind::Incompatible,
            format!("the hub's tables are not as they should be: {message}"),
            "run `aqe-sync init`, which adds what is missing",
        ),
        "42704" | "58P01" => some(
            ErrorKind::Incompatible,
            format!("something that the hub relies on is missing: {message}"),
            "if it is the vector type, install its extension on the server and in this database (CREATE EXTENSION), \
             then run `aqe-sync init`",
        ),
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_DETAIL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
