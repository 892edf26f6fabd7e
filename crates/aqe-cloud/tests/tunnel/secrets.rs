//! Passwords in Google Secret Manager, from a server of ours that plays it.

use std::sync::Arc;

use aqe_cloud::secret::{PasswordSource as _, Secret, SecretManager};
use aqe_cloud::tunnel::FixedToken;
use aqe_sync_core::{Error, ErrorKind, Retry};
use aqe_sync_workspace::answers::answer;

use crate::world::{LIMIT, run};

/// `s3 cr3t!\n` in base64, and its CRC32C.
const DATA: &str = "czMgY3IzdCEK";
const PASSWORD: &str = "s3 cr3t!";

fn manager(port: u16) -> SecretManager {
    let token = FixedToken::new(Secret::new("Zq7token")).unwrap();
    let manager = SecretManager::new("gcp-secret://p-1/hub/3".parse().unwrap(), Arc::new(token));
    manager.endpoint(&format!("http://127.0.0.1:{port}/")).unwrap()
}

fn payload(data: &str, checksum: &str) -> (u16, String) {
    let name = "projects/1/secrets/hub/versions/3";
    (200, format!(r#"{{"name":"{name}","payload":{{"data":"{data}"{checksum}}}}}"#))
}

fn refused(answer_: (u16, String)) -> Error {
    let (port, _requests) = answer(vec![answer_]);
    let error = run(manager(port).password()).expect_err("refused");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("Zq7") && !shown.contains(PASSWORD) && !shown.contains(DATA), "{shown}");
    assert!(shown.contains("gcp-secret://p-1/hub/3"), "{shown}");
    error
}

#[test]
fn a_secret_is_asked_for_by_its_name_with_the_token() {
    for checksum in ["", r#","dataCrc32c":"2092809166""#, r#","dataCrc32c":2092809166"#] {
        let (port, requests) = answer(vec![payload(DATA, checksum)]);
        assert_eq!(run(manager(port).password()).unwrap().expose(), PASSWORD);
        let request = requests.recv_timeout(LIMIT).unwrap();
        assert!(request.starts_with("GET /v1/projects/p-1/secrets/hub/versions/3:access HTTP/1.1\r\n"), "{request}");
        assert!(request.to_ascii_lowercase().contains("authorization: bearer zq7token\r\n"), "{request}");
    }
}

#[test]
fn what_arrives_damaged_is_no_password() {
    let error = refused(payload(DATA, r#","dataCrc32c":"2092809167""#));
    assert!(error.to_string().contains("checksum differs"), "{error}");
    assert_eq!(error.can_retry(), Retry::Later);
    for body in [
        "",
        "<html>Zq7</html>",
        r#"{"payload":{"data":"???"}}"#,
        r#"{"payload":{}}"#,
        r#"{"payload":{"data":"Zq7"#,
        r#"{"payload":{"data":"czMgY3IzdCEKczMgY3IzdCEK"}}"#,
        &format!(r#"{{"payload":{{"data":"{}"}}}}"#, "Zq7x".repeat(60_000)),
    ] {
        let error = refused((200, body.to_owned()));
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Malformed, Retry::Never), "{body}: {error}");
    }
}

#[test]
fn a_refusal_says_what_to_check_and_whether_to_try_again() {
    let said = |code: u16, message: &str| {
        refused((code, format!(r#"{{"error":{{"code":{code},"message":"{message}","status":"X"}}}}"#)))
    };
    for (code, kind, retry, advice) in [
        (400, ErrorKind::Invalid, Retry::Never, "disabled or destroyed"),
        (401, ErrorKind::PermissionDenied, Retry::Never, "gcloud auth"),
        (403, ErrorKind::PermissionDenied, Retry::Never, "roles/secretmanager.secretAccessor"),
        (404, ErrorKind::NotFound, Retry::Never, "project, secret and version"),
        (429, ErrorKind::Io, Retry::Later, "quota"),
        (500, ErrorKind::Io, Retry::Later, "trouble"),
        (503, ErrorKind::Io, Retry::Later, "trouble"),
    ] {
        let error = said(code, "Zq7token: you\\n may not");
        assert_eq!((error.kind(), error.can_retry()), (kind, retry), "{error}");
        let text = error.to_string();
        assert!(text.contains("********: you may not") && text.contains(advice), "{text}");
    }
    assert!(refused((403, "nonsense".to_owned())).to_string().contains("403"));
    // The token goes nowhere else.
    let error = refused((302, String::new()));
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn a_service_that_does_not_answer_may_be_tried_again() {
    let error = run(manager(1).password()).expect_err("nobody listens");
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Io, Retry::Later), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1 does not answer"), "{error}");
}

#[test]
fn the_token_travels_encrypted_or_not_at_all() {
    let try_ = |url: &str| {
        let token = FixedToken::new(Secret::new("made-up")).unwrap();
        SecretManager::new("gcp-secret://p/s".parse().unwrap(), Arc::new(token)).endpoint(url)
    };
    for url in ["https://secretmanager.europe-west3.rep.googleapis.com", "http://localhost:1", "http://[::1]:1/"] {
        try_(url).unwrap();
    }
    for url in [
        "http://10.0.0.1",
        "http://example.com",
        "ftp://localhost",
        "",
        "localhost:1",
        "https://a:b@h",
        "https://h?x=1",
    ] {
        assert!(try_(url).is_err(), "{url}");
    }
}
