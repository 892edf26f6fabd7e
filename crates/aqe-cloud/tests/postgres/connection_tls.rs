//! Every `sslmode`, against a server with TLS and one without.

use std::path::Path;
use std::sync::OnceLock;

use aqe_sync_core::{ErrorKind, Retry};
use aqe_sync_workspace::postgres::Cluster;

use crate::connection::{ask, open, refusal, run};

/// Users by how they may come in: `guarded` with a password over TLS, `bare` without TLS only,
/// `badge` and `stranger` with a certificate of theirs.
fn tls() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder()
            .ssl(true)
            .access("hostssl all guarded 127.0.0.1/32 scram-sha-256")
            .access("host all guarded 127.0.0.1/32 reject")
            .access("hostssl all bare 127.0.0.1/32 reject")
            .access("hostssl all badge 127.0.0.1/32 trust clientcert=verify-full")
            .access("hostssl all stranger 127.0.0.1/32 trust clientcert=verify-full")
            .start();
        cluster.psql("CREATE ROLE guarded LOGIN PASSWORD 'hunter2'");
        cluster.psql("CREATE ROLE bare LOGIN");
        cluster.psql("CREATE ROLE badge LOGIN");
        cluster.psql("CREATE ROLE stranger LOGIN");
        cluster
    })
}

/// Whether the session that these parameters give is encrypted.
fn is_encrypted(host: &str, parameters: &str) -> bool {
    let port = tls().port();
    run(async {
        let link = open(&format!("postgres://postgres@{host}:{port}/postgres?{parameters}")).await.unwrap();
        let ssl = ask(&link, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await.unwrap();
        ssl == "t"
    })
}

fn refused(host: &str, parameters: &str) -> String {
    let error = refusal(&format!("postgres://postgres:hunter2@{host}:{}/postgres?{parameters}", tls().port()));
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Refused, Retry::Never), "{error}");
    error.to_string()
}

fn roots(file: &Path) -> String {
    format!("sslrootcert={}", file.display())
}

#[test]
fn a_server_with_tls_is_spoken_to_as_the_mode_says() {
    for (parameters, encrypted) in [
        ("", true),
        ("sslmode=disable", false),
        ("sslmode=allow", true),
        ("sslmode=prefer", true),
        ("sslmode=require", true),
    ] {
        assert_eq!(is_encrypted("127.0.0.1", parameters), encrypted, "{parameters}");
    }
}

#[test]
fn a_server_without_tls_serves_only_those_who_can_do_without() {
    let database = Cluster::shared().database();
    let with = |mode: &str| format!("{}?sslmode={mode}", database.url());
    for mode in ["disable", "allow", "prefer"] {
        run(open(&with(mode))).unwrap();
    }
    let ca = roots(tls().ca_file());
    for mode in ["require", &format!("verify-ca&{ca}"), &format!("verify-full&{ca}")] {
        let error = refusal(&with(mode));
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("offers no TLS"), "{error}");
    }
}

#[test]
fn a_certificate_of_the_given_authority_is_accepted() {
    let ca = roots(tls().ca_file());
    assert!(is_encrypted("localhost", &format!("sslmode=verify-full&{ca}")));
    assert!(is_encrypted("127.0.0.1", &format!("sslmode=verify-ca&{ca}")));
    assert!(is_encrypted("127.0.0.1", &format!("sslmode=require&{ca}")));
    let own = roots(tls().certificates().server_file());
    assert!(is_encrypted("localhost", &format!("sslmode=verify-full&{own}")), "given as it is, it needs no authority");
}

#[test]
fn a_certificate_of_another_authority_is_refused_by_every_mode_that_looks() {
    let other = roots(tls().certificates().other_ca_file());
    for mode in ["verify-full", "verify-ca", "require"] {
        let text = refused("localhost", &format!("sslmode={mode}&{other}"));
        assert!(text.contains("not signed by an authority") && text.contains("sslrootcert=FILE"), "{mode}: {text}");
    }
    assert!(is_encrypted("localhost", &format!("sslmode=prefer&{other}")), "which does not look");
}

#[test]
fn a_certificate_for_another_name_is_refused_by_verify_full_alone() {
    for parameters in [roots(tls().ca_file()), roots(tls().certificates().server_file())] {
        let text = refused("127.0.0.1", &format!("sslmode=verify-full&{parameters}"));
        assert!(text.contains("not for the name \"127.0.0.1\"") && text.contains("verify-ca"), "{text}");
    }
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let port = tls().port();
    let key = tls().certificates().server_key_file();
    for (file, says) in [(Path::new("/no/such.pem"), "cannot be read"), (key, "no certificate")] {
        let url = format!("postgres://me:hunter2@localhost:{port}/x?sslmode=verify-ca&{}", roots(file));
        let error = run(open(&url)).err().expect("no authority").to_string();
        assert!(error.contains(says) && error.contains(&file.display().to_string()), "{error}");
    }
}

#[test]
fn a_password_is_bound_to_the_tls_session() {
    let url = |mode: &str| {
        let port = tls().port();
        format!("postgres://guarded:hunter2@127.0.0.1:{port}/postgres?channel_binding=require&sslmode={mode}")
    };
    run(open(&url("require"))).unwrap();
    let error = run(open(&url("disable"))).err().expect("no TLS, no binding");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
}

#[test]
fn prefer_goes_without_tls_where_the_server_wants_that() {
    let port = tls().port();
    run(open(&format!("postgres://bare@127.0.0.1:{port}/postgres?sslmode=prefer"))).unwrap();
    let error = refusal(&format!("postgres://bare:hunter2@127.0.0.1:{port}/postgres?sslmode=require"));
    assert!(error.to_string().contains("pg_hba.conf"), "{error}");
}

#[test]
fn a_client_certificate_lets_its_user_in_and_nobody_else() {
    let (port, certificates) = (tls().port(), tls().certificates());
    let shown = |user: &str, parameters: &str| {
        format!(
            "postgres://{user}@localhost:{port}/postgres?sslmode=verify-full&{}{parameters}",
            roots(tls().ca_file())
        )
    };
    let own = format!(
        "&sslcert={}&sslkey={}",
        certificates.client_file().display(),
        certificates.client_key_file().display()
    );
    run(async {
        let link = open(&shown("badge", &own)).await.unwrap();
        let who = ask(&link, "SELECT current_user || client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await;
        assert_eq!(who.unwrap(), "badge/CN=badge");
    });
    for (url, says) in
        [(shown("badge", ""), "certificate"), (shown("stranger", &own), "does not let user \"stranger\" in")]
    {
        let error = run(open(&url)).err().expect("the server wants the certificate of the user");
        assert_eq!(error.can_retry(), Retry::Never, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
