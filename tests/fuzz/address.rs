//! The hub's address and the password file.

use std::fs;

use aqe_cloud::postgres::link::AddressParts;
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target};

/// What no message may hold. Mutations may break it, but not make it.
const PASSWORD: &str = "Zq7Xw9Kp4";

const URLS: [&str; 14] = [
    "postgres://me:Zq7Xw9Kp4@hub.example/fleet?sslmode=verify-full",
    "postgresql://me:Zq7Xw9Kp4@[::1]:5432/fleet?application_name=a%20b&connect_timeout=5",
    "postgres://me@/fleet?host=/run/postgresql&password=Zq7Xw9Kp4",
    "postgres://me:Zq7Xw9Kp4@10.0.0.1:15432",
    "postgres://me@hub/fleet?sslrootcert=system&password=Zq7Xw9Kp4",
    "postgres://me:%5A%20Zq7Xw9Kp4@hub/fleet?statement_timeout=5min&lock_timeout=10s",
    "POSTGRES://me:Zq7Xw9Kp4@hub/%66leet?options=-c%20search_path%3Dx",
    "postgres://me:Zq7Xw9Kp4@hub:5432/fleet?channel_binding=require&target_session_attrs=read-write",
    "postgres://me:a:b@Zq7Xw9Kp4@hub/fleet",
    "postgres://me@[fe80::1%25eth0]:5433/fleet",
    "postgres://%C3%BC:Zq7Xw9Kp4@hub/%C3%A9?user=x&dbname=y&port=1",
    "postgres://me:Zq7Xw9Kp4@localhost/fleet?sslmode=disable",
    "postgres://me:Zq7Xw9Kp4@hub/fleet?sslcert=/me.pem&sslkey=/me.key&sslmode=require&sslrootcert=/ca.pem",
    "postgres://u:Zq7Xw9Kp4@h",
];

#[test]
fn hub_url() {
    let corpus = URLS.iter().fold(Corpus::new().with_past_failures("hub_url"), |corpus, url| corpus.with(*url, *url));
    let corpus = corpus.words([
        "postgres://",
        "@",
        ":",
        "/",
        "?",
        "&",
        "=",
        "%",
        "%00",
        "%2F",
        "%40",
        "%zz",
        "[",
        "]",
        "#",
        ",",
        "password=",
        "sslmode=",
        "host=",
        "port=",
        "connect_timeout=",
        "statement_timeout=",
        "99999999999999999999d",
        "ü",
        "\0",
    ]);
    Target::new("hub_url", corpus).at_least(10_000).share_past(5).run(|bytes| {
        let url = String::from_utf8_lossy(bytes);
        let address = match AddressParts::parse(&url).and_then(|parts| parts.system_user("me").build()) {
            Ok(address) => address,
            Err(error) => {
                assert_silent(&url, &format!("{error} {error:?}"));
                return Reached::Refused;
            }
        };
        let shown = address.shown();
        let again = AddressParts::parse(&shown).and_then(AddressParts::build);
        let again = again.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(again.shown(), shown);
        assert_eq!(
            (again.user(), again.database(), again.port()),
            (address.user(), address.database(), address.port())
        );
        assert_eq!(again.host(), address.host());
        assert!(!again.has_password(), "{shown}");
        Reached::Past
    });
}

fn assert_silent(given: &str, said: &str) {
    assert!(!said.contains(PASSWORD), "a password is repeated: {given} led to {said}");
}

const PASSWORD_FILES: [&str; 5] = [
    "# fleet\nhub:5432:fleet:me:Zq7Xw9Kp4\n*:*:*:*:other\n",
    "other:*:*:*:x\nhub:*:*:*:Zq7Xw9Kp4\r\n",
    "hub:5432:fl\\:eet:me:no\n\\hub:5432:*:m\\e:Zq7Xw9Kp4\\\\\\:x\n",
    "*:*:*:me:Zq7Xw9Kp4",
    "hub:5432:*:me:Zq7Xw9Kp4:with:colons\n\n\n",
];

#[test]
fn password_file() {
    let corpus = Corpus::new().text().with_past_failures("password_file");
    let corpus = PASSWORD_FILES.iter().fold(corpus, |corpus, text| corpus.with(*text, *text));
    let corpus = corpus.words([":", "\\", "*", "\n", "#", "\r", "hub", "5432", "fleet", "me", "\0", "ü", "\\:"]);
    Target::new("password_file", corpus).at_least(1_000).share_past(10).run(|bytes| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pgpass");
        fs::write(&path, bytes).expect("written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let parts = AddressParts::parse("postgres://me@hub/fleet").expect("a URL").password_file(&path);
        let address = parts.build().unwrap_or_else(|error| panic!("{error}"));
        assert!(address.warnings().is_empty(), "{:?}", address.warnings());
        assert_silent("", &format!("{address} {address:?}"));
        let text = String::from_utf8_lossy(bytes);
        assert!(!address.has_password() || text.lines().any(|line| line.matches(':').count() >= 4), "out of nowhere");
        if address.has_password() { Reached::Past } else { Reached::Refused }
    });
}
