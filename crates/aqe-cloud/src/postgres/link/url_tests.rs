//! What a connection URL says, and that it never tells its password.

use proptest::prelude::*;

use super::*;
use crate::postgres::link::Address;

fn address(url: &str) -> Address {
    AddressParts::parse(url).and_then(|parts| parts.system_user("os").build()).unwrap_or_else(|e| panic!("{url}: {e}"))
}

fn refusal(url: &str) -> String {
    let parsed = AddressParts::parse(url).and_then(|parts| parts.system_user("os").build());
    parsed.err().unwrap_or_else(|| panic!("{url} should have been refused")).to_string()
}

#[test]
fn every_part_may_be_missing() {
    for (url, shown) in [
        ("postgres://", "postgres://os@localhost:5432/os"),
        ("postgresql://hub", "postgres://os@hub:5432/os"),
        ("PostgreSQL://hub:5433/", "postgres://os@hub:5433/os"),
        ("postgres://me@/fleet", "postgres://me@localhost:5432/fleet"),
        ("postgres://me:pw@hub:1/fleet", "postgres://me@hub:1/fleet"),
        ("postgres://:pw@hub", "postgres://os@hub:5432/os"),
        ("postgres://[::1]:6/x", "postgres://os@[::1]:6/x"),
        ("postgres://me@[::1]", "postgres://me@[::1]:5432/me"),
        ("postgres://m%40e@h%2Dub/a%20b/c", "postgres://m%40e@h-ub:5432/a%20b%2Fc"),
        ("postgres://%2Frun%2Fpg/x", "postgres://os@/x?host=/run/pg&port=5432"),
        ("postgres:///x?host=/run/pg&port=7", "postgres://os@/x?host=/run/pg&port=7"),
        ("postgres://?user=me&dbname=x&host=hub&port=9&password=pw", "postgres://me@hub:9/x"),
        ("postgres://hub?&&sslmode=disable&", "postgres://os@hub:5432/os"),
    ] {
        assert_eq!(address(url).shown(), shown, "{url}");
    }
}

#[test]
fn parameters_are_taken_as_libpq_takes_them() {
    let url = "postgres://hub/?sslmode=verify-ca&sslrootcert=/my%20ca.pem&application_name=a+b&connect_timeout=3\
               &statement_timeout=2min&lock_timeout=7&options=-c%20geqo%3Doff&channel_binding=require\
               &target_session_attrs=read-write&sslcert=/c&sslkey=/k";
    let address = address(url);
    assert_eq!(address.ssl_mode, SslMode::VerifyCa);
    assert_eq!(address.roots, Some(Roots::File("/my ca.pem".into())));
    assert_eq!(address.application_name, "a+b");
    assert_eq!(address.limits.connect, Duration::from_secs(3));
    assert_eq!(address.limits.statement, Duration::from_secs(120));
    assert_eq!(address.limits.lock, Duration::from_millis(7));
    assert_eq!(address.options.as_deref(), Some("-c geqo=off"));
    assert_eq!(address.channel_binding, ChannelBinding::Require);
    assert!(address.client_certificate.is_some());
}

#[test]
fn what_cannot_be_is_refused_with_what_to_write() {
    for (url, says) in [
        ("mysql://hub", "postgres://"),
        ("postgres:/hub", "postgres://"),
        ("postgres://a,b/x", "several hosts"),
        ("postgres://x?host=a,b", "several hosts"),
        ("postgres://hub:99999/x", "1 to 65535"),
        ("postgres://hub:0/x", "1 to 65535"),
        ("postgres://hub:+5/x", "1 to 65535"),
        ("postgres://[::1/x", "brackets"),
        ("postgres://[::1]5/x", "brackets"),
        ("postgres://hub?sslmode=full", "verify-full"),
        ("postgres://hub?sslmode", "NAME=VALUE"),
        ("postgres://hub?connect_timeout=soon", "connect_timeout=15"),
        ("postgres://hub?statement_timeout=5y", "units"),
        ("postgres://hub?statement_timeout=99999999999", "units"),
        ("postgres://hub?target_session_attrs=standby", "must take writes"),
        ("postgres://hub?sslpasswort=x", "sslpasswort is not known here"),
        ("postgres://100%@hub", "%25"),
        ("postgres://%ff@hub", "UTF-8"),
        ("postgres://me%00@hub", "NUL"),
    ] {
        let message = refusal(url);
        assert!(message.contains(says), "{url}: {message}");
    }
}

#[test]
fn an_unknown_parameter_is_named_with_those_that_are_known() {
    let message = refusal("postgres://hub?sslmod=require");
    assert!(message.contains("sslmod is not known") && message.contains("sslrootcert"), "{message}");
}

/// With every character that means something to a URL in the middle of it, unescaped.
#[test]
fn no_part_of_a_malformed_password_is_repeated() {
    let frames = [
        "postgres://user:{}@host:5432/db",
        "postgres://user:{}@host/db?sslmode=full",
        "postgres://user:{}@host/db?nonsense=1",
        "postgres://user:{}@ho st",
        "postgres://user:{}@host:port",
        "postgres://:{}@host/db",
        "postgre://user:{}@host/db",
        "user:{}@host/db",
        "postgres://user:{}",
        "postgres://user:{}/db",
        "postgres://host/db?password={}",
        "postgres://host/db?password={}&port=x",
    ];
    let specials =
        ["", "/", "?", "#", "&", "=", "%", "%4", "%zz", ":", ",", "[", "]", " ", "\0", "ü", "://", "&x=", "?user="];
    for frame in frames {
        for special in specials {
            let url = frame.replace("{}", &format!("Zq7{special}Xw9"));
            let parsed = AddressParts::parse(&url);
            let built = AddressParts::parse(&url).and_then(|parts| parts.system_user("os").build());
            let shown = built.as_ref().map_or_else(ToString::to_string, ToString::to_string);
            let all = format!("{shown} {parsed:?} {built:?}");
            assert!(!all.contains("Zq7") && !all.contains("Xw9"), "{url:?} is shown as {all}");
        }
    }
}

/// The rest of such a password would be a database's or a parameter's name, and be shown.
#[test]
fn a_password_that_is_cut_after_what_looks_like_a_port_is_refused() {
    for url in ["postgres://user:54/hunter@host/db", "postgres://user:54?hunter=x@host/db"] {
        let message = refusal(url);
        assert!(message.contains("behind the host and port") && message.contains("%2F for /"), "{message}");
        assert!(!message.contains("hunter"), "{message}");
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,60}", tail in "[a-z:/@?=&%#,.\\[\\]0-9]{0,40}") {
        for url in [text.clone(), format!("postgres://{text}"), format!("postgres://{tail}")] {
            let _ = AddressParts::parse(&url).and_then(AddressParts::build);
        }
    }

    #[test]
    fn what_is_encoded_comes_back(
        user in "[^\0]{1,12}",
        password in "[^\0]{1,12}",
        database in "[^\0]{1,12}",
        host in "[a-z][a-z0-9.-]{0,10}|127\\.0\\.0\\.1|\\[::1\\]|%2Fsome%2Ffolder",
        port in 1u16..,
    ) {
        let url = format!(
            "postgres://{}:{}@{host}:{port}/{}",
            encoded(&user), encoded(&password), encoded(&database)
        );
        let parsed = AddressParts::parse(&url).and_then(AddressParts::build);
        let parsed = parsed.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(parsed.user(), &user);
        prop_assert_eq!(parsed.database(), &database);
        prop_assert_eq!(parsed.port(), port);
        prop_assert_eq!(parsed.given(), Some(password.as_str()));
        let again = AddressParts::parse(&parsed.shown()).and_then(AddressParts::build);
        let again = again.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(again.shown(), parsed.shown());
    }

    #[test]
    fn no_way_to_print_an_address_shows_its_password(password in "[A-Za-z0-9!@:/?#&=%]{0,8}") {
        let secret = format!("Zq7{password}Xw9");
        let parts = AddressParts::parse(&format!("postgres://me:{}@hub/fleet", encoded(&secret)));
        let parts = parts.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let address = parts.clone().build().map_err(|error| TestCaseError::fail(error.to_string()))?;
        let config = address.config(tokio_postgres::config::SslMode::Prefer, Some(&Secret::new(&secret)));
        let shown = format!("{parts:?} {address} {address:?} {config:?}");
        prop_assert!(!shown.contains("Zq7") && !shown.contains("Xw9"), "{}", shown);
    }
}
