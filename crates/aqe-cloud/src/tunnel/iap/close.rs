//! Why the relay ends or refuses a connection, and what to check then.
//!
//! The codes are those that Google's own clients know.

use aqe_sync_core::{Error, ErrorKind, Retry};

use crate::tunnel::Instance;

/// What a close code asks for.
#[derive(Debug)]
pub(super) enum Closing {
    /// The far end has closed the connection: that is its end.
    End,
    /// The session is whole, and another transport may go on with it.
    Resume,
    /// The machine cannot be found just now; it may be starting.
    Lookup(Error),
    /// That is the end, and why.
    Failure(Error),
}

/// Says what a close code means. `reason` is the relay's, which may be empty.
pub(super) fn meaning(code: u32, reason: &str, instance: &Instance) -> Closing {
    let said = |what: String| if reason.is_empty() { what } else { format!("{what}: {reason:?}") };
    let failure = |kind, retry, what: String, advice: String| {
        Closing::Failure(about(instance, Error::new(kind, said(what)).retry(retry).advice(advice), code))
    };
    let later = |what: &str, advice: &str| failure(ErrorKind::Io, Retry::Later, what.to_owned(), advice.to_owned());
    match code {
        1000 => Closing::End,
        // Not a word on the session: gone away, no code, no close at all, restart, overload, bad gateway.
        1001 | 1005 | 1006 | 1011..=1014 | 4004 => Closing::Resume,
        4000 => later(
            "the relay failed for a reason of its own",
            "try again; if it stays so, look at Google Cloud's status",
        ),
        4001 => later("the relay no longer knows the session", GOES_ON),
        4002 => later("the relay says that another connection uses the session", GOES_ON),
        4003 => failure(ErrorKind::Io, Retry::Later, format!("the relay cannot reach {instance}"), backend(instance)),
        4005 | 4006 => later("the relay did not accept an acknowledgement", DEFECT),
        4007 | 4008 | 4013 => later("the relay did not understand what it was sent", DEFECT),
        4009 | 4010 => later(
            "the relay lost its connection to the database: it could not write to it or read from it",
            "look into the server's log: it may have been restarted, or ended the session",
        ),
        4033 => denied(said("the relay says that this account may not use the tunnel".into()), instance, code),
        4047 | 4051 => {
            let what = said(format!("the relay cannot find the instance {:?}", instance.name));
            let error = Error::new(ErrorKind::NotFound, what).retry(Retry::Later).advice(format!(
                "check that it is started, its name, its zone ({}) and its project ({})",
                instance.zone, instance.project
            ));
            Closing::Lookup(about(instance, error, code))
        }
        other => later(&format!("the relay closed the connection with code {other}"), GOES_ON),
    }
}

/// What an answer to the request for a WebSocket means that is no WebSocket.
pub(super) fn of_status(status: u16, body: &str, instance: &Instance) -> Error {
    let shown = if body.is_empty() { String::new() } else { format!(": {body:?}") };
    let (kind, retry, what, advice) = match status {
        401 => (
            ErrorKind::PermissionDenied,
            Retry::Never,
            format!("the relay does not accept the access token{shown}"),
            "log in anew: gcloud auth application-default login".to_owned(),
        ),
        403 => {
            return denied_error(format!("the relay refuses the request{shown}"), instance).context("status", status);
        }
        429 | 500..=599 => (
            ErrorKind::Io,
            Retry::Later,
            format!("the relay answers with status {status}{shown}"),
            "try again; if it stays so, look at Google Cloud's status".to_owned(),
        ),
        _ => (
            ErrorKind::Invalid,
            Retry::Never,
            format!("the relay answers with status {status}{shown}"),
            format!(
                "check project ({}), zone ({}) and instance ({}), and that this account {ROLE}",
                instance.project, instance.zone, instance.name
            ),
        ),
    };
    Error::new(kind, what).retry(retry).advice(advice)
}

const GOES_ON: &str = "what was committed is stored, and another try goes on from there";
const DEFECT: &str = "if it happens again, this is a defect in aqe-sync: please report it";
const ROLE: &str = "has the role \"IAP-secured Tunnel User\" (roles/iap.tunnelResourceAccessor)";

fn backend(instance: &Instance) -> String {
    format!(
        "check that the instance is started, that PostgreSQL listens there on port {} for the network (listen_addresses), \
         and that a firewall rule lets 35.235.240.0/20 reach that port",
        instance.port
    )
}

fn denied(what: String, instance: &Instance, code: u32) -> Closing {
    Closing::Failure(about(instance, denied_error(what, instance), code))
}

fn denied_error(what: String, instance: &Instance) -> Error {
    Error::new(ErrorKind::PermissionDenied, what).advice(format!(
        "check that this account {ROLE} on the instance or the project {}, and that IAP's API is enabled there",
        instance.project
    ))
}

fn about(instance: &Instance, error: Error, code: u32) -> Error {
    error.context("instance", &instance.name).context("close code", code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u32) -> Error {
        let instance = Instance::new("my-project", "my-zone", "my-hub").port(5433);
        match meaning(code, "said so", &instance) {
            Closing::Failure(error) | Closing::Lookup(error) => error,
            other => panic!("{code}: {other:?}"),
        }
    }

    #[test]
    fn every_code_says_what_to_check() {
        for (code, kind, retry, parts) in [
            (4000, ErrorKind::Io, Retry::Later, &["status"][..]),
            (4001, ErrorKind::Io, Retry::Later, &["no longer knows the session"]),
            (4002, ErrorKind::Io, Retry::Later, &["another connection uses the session"]),
            (4003, ErrorKind::Io, Retry::Later, &["port 5433 of my-hub", "35.235.240.0/20", "listen_addresses"]),
            (4005, ErrorKind::Io, Retry::Later, &["acknowledgement"]),
            (4008, ErrorKind::Io, Retry::Later, &["did not understand"]),
            (4009, ErrorKind::Io, Retry::Later, &["server's log"]),
            (4010, ErrorKind::Io, Retry::Later, &["write", "server's log"]),
            (4033, ErrorKind::PermissionDenied, Retry::Never, &["IAP-secured Tunnel User", "my-project"]),
            (4047, ErrorKind::NotFound, Retry::Later, &["\"my-hub\"", "my-zone", "my-project", "started"]),
            (4051, ErrorKind::NotFound, Retry::Later, &["\"my-hub\""]),
            (4999, ErrorKind::Io, Retry::Later, &["code 4999"]),
        ] {
            let error = error(code);
            assert_eq!((error.kind(), error.can_retry()), (kind, retry), "{error}");
            for part in parts.iter().chain(&["said so", &format!("close code: {code}")]) {
                assert!(error.to_string().contains(part), "{part}: {error}");
            }
        }
    }

    #[test]
    fn statuses_say_whether_to_log_in_to_get_a_role_or_to_wait() {
        let instance = Instance::new("my-project", "my-zone", "my-hub");
        for (status, kind, retry, says) in [
            (400, ErrorKind::Invalid, Retry::Never, "my-zone"),
            (401, ErrorKind::PermissionDenied, Retry::Never, "gcloud auth application-default login"),
            (403, ErrorKind::PermissionDenied, Retry::Never, "roles/iap.tunnelResourceAccessor"),
            (404, ErrorKind::Invalid, Retry::Never, "my-project"),
            (429, ErrorKind::Io, Retry::Later, "status 429"),
            (503, ErrorKind::Io, Retry::Later, "status 503"),
        ] {
            let error = of_status(status, "why", &instance);
            assert_eq!((error.kind(), error.can_retry()), (kind, retry), "{error}");
            assert!(error.to_string().contains(says) && error.to_string().contains("why"), "{error}");
        }
    }
}
