//! Tokens, from a server of ours that plays Google's.
#![cfg(unix)]

use std::path::PathBuf;
use std::process::Command;

use aqe_cloud::postgres::link::Secret;
use aqe_cloud::tunnel::{GoogleCredentials, Places, TokenSource as _};
use aqe_sync_core::{ErrorKind, Result, Retry};
use aqe_sync_workspace::answers::answer;

use crate::world::{LIMIT, run};

fn token(text: &str, seconds: u32) -> (u16, String) {
    (200, format!(r#"{{"access_token":"{text}","expires_in":{seconds},"token_type":"Bearer"}}"#))
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn user(&self, port: u16) -> PathBuf {
        let text = format!(
            r#"{{"type":"authorized_user","client_id":"id","client_secret":"Zq7secret","refresh_token":"Zq7refresh",
                "token_uri":"http://127.0.0.1:{port}/token"}}"#
        );
        self.file("user.json", &text)
    }
}

/// Nothing is found unless a test says where.
fn nowhere() -> Places {
    Places { named: None, usual: None, metadata: "http://127.0.0.1:1".into(), gcloud: "/nowhere/gcloud".into() }
}

async fn ask(credentials: &GoogleCredentials) -> Result<String> {
    let token = credentials.token().await;
    if let Err(error) = &token {
        assert!(!format!("{error} {error:?}").contains("Zq7"), "a secret shows: {error:?}");
    }
    token.map(|token: Secret| token.expose().to_owned())
}

#[test]
fn a_users_credentials_are_exchanged_for_a_token_that_is_kept() {
    let (port, requests) = answer(vec![token("first", 3_600), token("second", 3_600)]);
    let folder = Folder::new();
    let credentials = GoogleCredentials::discover(Places { named: Some(folder.user(port)), ..nowhere() });
    run(async {
        for _ in 0..3 {
            assert_eq!(ask(&credentials).await.unwrap(), "first");
        }
    });
    let request = requests.recv_timeout(LIMIT).unwrap();
    assert!(request.starts_with("POST /token") && request.contains("Zq7refresh"), "{request}");
    assert!(requests.try_recv().is_err(), "once");
    assert!(credentials.origin().contains("user.json"));
    // Another runtime finds its own way, as the library's task went with the first.
    run(async { assert_eq!(ask(&credentials).await.unwrap(), "second") });
}

/// The library replaces a token four minutes before its end, so this one after a second.
#[test]
fn a_token_is_replaced_before_it_expires() {
    let (port, requests) = answer(vec![token("first", 241), token("second", 3_600)]);
    let folder = Folder::new();
    let credentials = GoogleCredentials::discover(Places { named: Some(folder.user(port)), ..nowhere() });
    run(async {
        assert_eq!(ask(&credentials).await.unwrap(), "first");
        let requests = tokio::task::spawn_blocking(move || {
            requests.recv_timeout(LIMIT).unwrap();
            requests.recv_timeout(LIMIT).unwrap()
        });
        assert!(requests.await.unwrap().starts_with("POST /token"), "nobody asked");
        while ask(&credentials).await.unwrap() != "second" {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn credentials_that_were_revoked_say_to_log_in_and_are_read_anew_afterwards() {
    let refused = (400, r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#.into());
    let (port, _requests) = answer(vec![refused, token("new", 3_600)]);
    let folder = Folder::new();
    let credentials = GoogleCredentials::discover(Places { usual: Some(folder.user(port)), ..nowhere() });
    run(async {
        let error = ask(&credentials).await.expect_err("revoked");
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::PermissionDenied, Retry::Never), "{error}");
        for part in ["user.json", "expired or revoked", "gcloud auth application-default login"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(ask(&credentials).await.unwrap(), "new");
    });
}

#[test]
fn a_service_accounts_key_makes_a_token() {
    let folder = Folder::new();
    let key = folder.0.path().join("key.pem");
    let made = Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
        .arg(&key)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no openssl on this machine");
        return;
    }
    let key = serde_json::Value::from(std::fs::read_to_string(&key).unwrap());
    let path = folder.file("account.json", &format!(
        r#"{{"type":"service_account","client_email":"agent@my-project.iam.gserviceaccount.com","private_key_id":"1",
            "private_key":{key},"project_id":"my-project","universe_domain":"googleapis.com"}}"#
    ));
    let credentials = GoogleCredentials::discover(Places { named: Some(path), ..nowhere() });
    // A signed statement of its own, of three parts: the library asks nobody.
    run(async { assert_eq!(ask(&credentials).await.unwrap().split('.').count(), 3) });
}

#[test]
fn the_metadata_server_is_asked_where_there_is_one() {
    let (port, requests) = answer(vec![token("of-the-machine", 3_600)]);
    let places = Places { metadata: format!("http://127.0.0.1:{port}"), ..nowhere() };
    run(async { assert_eq!(ask(&GoogleCredentials::discover(places)).await.unwrap(), "of-the-machine") });
    let request = requests.recv_timeout(LIMIT).unwrap();
    assert!(request.contains("/service-accounts/default/token"), "{request}");
    assert!(request.to_ascii_lowercase().contains("metadata-flavor: google"), "{request}");
}

fn gcloud(folder: &Folder, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.file("gcloud", &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn gcloud_is_asked_last_and_its_token_kept_for_a_while() {
    let folder = Folder::new();
    let text = format!("echo \"$*\" >> '{}'\necho ya29.of-gcloud", folder.0.path().join("calls").display());
    let places = Places { gcloud: gcloud(&folder, &text), ..nowhere() };
    let credentials = GoogleCredentials::discover(places);
    run(async {
        for _ in 0..2 {
            assert_eq!(ask(&credentials).await.unwrap(), "ya29.of-gcloud");
        }
    });
    let calls = std::fs::read_to_string(folder.0.path().join("calls")).unwrap();
    assert_eq!(calls, "auth print-access-token --quiet\n", "once");
}

#[test]
fn where_nobody_has_credentials_it_is_said_how_to_get_some() {
    let folder = Folder::new();
    let failing = gcloud(&folder, "echo 'You do not have an active account' >&2; exit 1");
    for (places, kind, says) in [
        (nowhere(), ErrorKind::NotFound, "/nowhere/gcloud cannot be run"),
        (Places { gcloud: failing, ..nowhere() }, ErrorKind::PermissionDenied, "do not have an active account"),
        (Places { named: Some("/nowhere/key.json".into()), ..nowhere() }, ErrorKind::NotFound, "/nowhere/key.json"),
        (
            Places { named: Some(folder.file("a", "{\"x\": Zq7}")), ..nowhere() },
            ErrorKind::Malformed,
            "line 1 column 7",
        ),
        (Places { named: Some(folder.file("b", "{\"type\": \"Zq7\"}")), ..nowhere() }, ErrorKind::Invalid, "no type"),
        (
            Places { named: Some(folder.file("c", "{\"type\": \"authorized_user\"}")), ..nowhere() },
            ErrorKind::Invalid,
            "cannot be used",
        ),
    ] {
        let error = run(async { ask(&GoogleCredentials::discover(places)).await.expect_err("none") });
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{says}: {error}");
        assert!(error.to_string().contains("gcloud auth application-default login"), "{error}");
    }
}
