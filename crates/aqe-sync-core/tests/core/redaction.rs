//! Credentials are taken out before anything leaves, and nothing else is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqe_sync_core::redact::Redact;
use aqe_sync_core::{Json, Record, Row, Schema, StreamSpec, Transform, Value};
use proptest::prelude::*;

use crate::support::cases;
use crate::support::memory_source::MemorySource;
use crate::support::note::{note, notes, spec};
use crate::support::world::World;

/// A credential of some form, made so that no scanner takes this file for a leak.
fn made(prefix: &str, length: usize) -> String {
    let letters: String = "a1B2c3D4e5F6g7H8j9K".chars().cycle().take(length).collect();
    format!("{prefix}{letters}")
}

fn redacted(text: &str) -> String {
    Redact::new().text(text).unwrap_or_else(|| text.to_owned())
}

#[test]
fn keys_and_tokens_of_providers_are_found_by_their_form() {
    for (kind, secret) in [
        ("aws-key", format!("{}{}", "AKIA", "Q7RT5ZK2WXYLMN4P")),
        ("github-token", made("ghp_", 36)),
        ("github-token", made("github_pat_", 82)),
        ("gitlab-token", made("glpat-", 20)),
        ("slack-token", made("xoxb-", 24)),
        ("google-key", made("AIza", 35)),
        ("google-token", made("ya29.", 40)),
        ("anthropic-key", made("sk-ant-", 40)),
        ("openai-key", made("sk-", 48)),
        ("openai-key", made("sk-proj-", 48)),
        ("stripe-key", made("sk_live_", 24)),
        ("huggingface-token", made("hf_", 34)),
        ("npm-token", made("npm_", 36)),
        ("pypi-token", made("pypi-", 60)),
        ("docker-token", made("dckr_pat_", 27)),
        ("vault-token", made("hvs.", 24)),
        ("sendgrid-key", format!("{}.{}", made("SG.", 22), made("", 43))),
        ("telegram-token", made("123456789:AA", 33)),
        ("linear-key", made("lin_api_", 40)),
        ("groq-key", made("gsk_", 52)),
        ("xai-key", made("xai-", 80)),
        ("grafana-token", made("glsa_", 41)),
        ("figma-token", made("figd_", 40)),
        ("atlassian-token", made("ATATT3", 60)),
        ("pinecone-key", made("pcsk_", 60)),
        ("azure-secret", made("aB18Q~", 33)),
        ("jwt", format!("{}.{}.{}", made("eyJ", 20), made("eyJ", 30), made("", 40))),
    ] {
        for text in [secret.clone(), format!("use {secret}, then go on"), format!("{{\"k\":\"{secret}\"}}")] {
            let expected = text.replace(&secret, &format!("[redacted:{kind}]"));
            assert_eq!(redacted(&text), expected, "{text}");
        }
    }
}

#[test]
fn passwords_are_found_where_a_name_or_a_url_says_that_they_are_some() {
    for (text, expected) in [
        ("postgres://app:hunter2@db:5432/x", "postgres://app:[redacted:url-password]@db:5432/x"),
        ("amqp://:s3cr3t@mq", "amqp://:[redacted:url-password]@mq"),
        ("DB_PASSWORD=hunter2", "DB_PASSWORD=[redacted:password]"),
        ("password: hunter2\nnext", "password: [redacted:password]\nnext"),
        (r#"{"password": "hunter2", "user": "me"}"#, r#"{"password": "[redacted:password]", "user": "me"}"#),
        (r#""{\"passwd\":\"hunter2\"}""#, r#""{\"passwd\":\"[redacted:password]\"}""#),
        ("{ pwd: 'hunter2' }", "{ pwd: '[redacted:password]' }"),
        ("MYSQL_PWD=hunter2", "MYSQL_PWD=[redacted:password]"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=[redacted:password] psql"),
        ("userPassword => 'two words'", "userPassword => '[redacted:password]'"),
        (r#"{"password": "correct horse", "n": 1}"#, r#"{"password": "[redacted:password]", "n": 1}"#),
        (r#"{"password": "a \" quote"}"#, r#"{"password": "[redacted:password]"}"#),
        (r#""{\"password\": \"correct horse\"}""#, r#""{\"password\": \"[redacted:password]\"}""#),
        ("curl -s -u admin:hunter2 https://x", "curl -s -u admin:[redacted:password] https://x"),
        ("curl --user 'admin:hunter2'", "curl --user 'admin:[redacted:password]'"),
        ("then send Bearer abcd1234efgh5678ijkl", "then send Bearer [redacted:authorization]"),
        (
            "aws_secret_access_key = wJalrXUtnFEMIzKzMDENGzbPxRfiCYzzzzzzzKEY",
            "aws_secret_access_key = [redacted:aws-secret]",
        ),
        ("api_key = \"abcd1234efgh5678\"", "api_key = \"[redacted:secret]\""),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted:authorization]"),
        ("GET /x?access_token=abc123def456&y=1", "GET /x?access_token=[redacted:url-token]&y=1"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn private_keys_go_whole_also_inside_json_and_cut_off() {
    let (begin, end) = ("-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----");
    let body = made("MIIE", 64);
    for text in [
        format!("{begin}\n{body}\n{body}\n{end}"),
        format!("{{\"k\":\"{begin}\\n{body}\\n{end}\\n\"}}"),
        format!("{begin}\n{body}"),
    ] {
        let result = redacted(&text);
        assert!(result.contains("[redacted:private-key]") && !result.contains("MIIE"), "{result}");
    }
}

#[test]
fn what_is_no_credential_stays() {
    for text in [
        "",
        "the password is checked in login.rs",
        "password: required",
        "\"password\": null, \"token\": true",
        "PASSWORD=${DB_PASSWORD}",
        "PWD=/home/me/project OLDPWD=~/x",
        "curl -u name https://example.org:8080/x",
        "token: process.env.TOKEN_OF_THE_SERVICE_1",
        "\"input_tokens\": 1200, \"total_tokens\": 3400",
        "const key = tokenizer.encode(text)",
        "https://example.org/a:b@c",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "sk-learn and task-runner-with-a-long-name",
        "550e8400-e29b-41d4-a716-446655440000",
    ] {
        assert_eq!(Redact::new().text(text), None, "{text}");
    }
}

#[test]
fn redacting_again_changes_nothing() {
    for text in ["password=hunter2 ghp_", "postgres://a:b@c", "api_key=abcd1234efgh5678"] {
        let once = redacted(text);
        assert_eq!(Redact::new().text(&once), None, "{once}");
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn json_stays_json_and_no_text_makes_it_stumble(text in "\\PC{0,60}", secret in "[a-zA-Z0-9]{8,20}") {
        let document = serde_json::json!({ "note": text, "password": secret, "list": [format!("token={secret}")] });
        let result = redacted(&document.to_string());
        prop_assert!(serde_json::from_str::<serde_json::Value>(&result).is_ok(), "{}", result);
        let again = redacted(&result);
        prop_assert_eq!(again, result);
    }
}

#[test]
fn keys_stay_apart_and_every_field_is_looked_through() {
    let table = notes().build().expect("a table");
    let schema = Schema::new(["id", "body", "more"]);
    let spec = StreamSpec::new("notes", Arc::clone(&table));
    let key = |secret: &str| {
        let values = vec![
            Value::from(format!("login {secret}").as_str()),
            Value::from("password=hunter2"),
            Value::Json(Json::from_text("{\"password\":\"hunter2\"}")),
        ];
        let mut out = Vec::new();
        let record =
            Record::new(Arc::clone(&schema), values).with_extra(vec![("x".into(), Value::from("pwd=hunter2"))]);
        Redact::new().apply(&spec, record, &mut out).expect("redacted");
        out.remove(0)
    };
    let (one, other) = (key(&made("ghp_", 36)), key(&made("ghp_", 37)));
    assert_ne!(one.get("id"), other.get("id"), "two records stay two");
    assert_eq!(key(&made("ghp_", 36)), one, "and the same stays the same");
    assert!(!format!("{one:?}").contains("hunter2") && !format!("{one:?}").contains("a1B2c3"), "{one:?}");
}

#[test]
fn a_run_sends_no_credential_and_an_unchanged_record_is_not_sent_again() {
    let redact = Redact::new();
    let replaced = redact.replaced();
    let count = || replaced.load(Ordering::Relaxed);
    let world = World::with(|options| options.transforms.push(Arc::new(redact)));
    let source = MemorySource::new("a.db", spec(notes()), vec![note("1", "password=hunter2"), note("2", "two")]);
    let report = world.run(&[&source]);
    assert_eq!(report.totals.inserted, 2);
    assert_eq!(world.bodies()["1"], Value::from("password=[redacted:password]"));
    assert!(
        report
            .notes
            .iter()
            .any(|note| note == "one credential was found in what was read; the hub gets a marker instead"),
        "{report:?}"
    );
    let report = world.run(&[&source]);
    assert_eq!((report.totals.unchanged, report.totals.updated), (2, 0));
    let edited = MemorySource::new("a.db", spec(notes()), vec![note("1", "password=other77"), note("2", "two")]);
    let before = count();
    let report = world.run(&[&edited]);
    assert_eq!((report.totals.unchanged, report.totals.updated), (2, 0), "its row says the same");
    assert_eq!(count(), before + 1);
}

#[test]
fn a_dead_letter_holds_no_credential() {
    let world = World::with(|options| options.transforms.push(Arc::new(Redact::new())));
    let schema = Schema::new(["id", "body"]);
    let nameless = Record::new(schema, vec![Value::Null, Value::from("password=hunter2")]);
    let source = MemorySource::new("a.db", spec(notes()), vec![nameless]);
    let report = world.run(&[&source]);
    assert_eq!(report.totals.dead_lettered, 1);
    let told = format!("{report:?} {:?}", world.sink.hub().letters);
    assert!(!told.contains("hunter2") && told.contains("[redacted:password]"), "{told}");
}

#[test]
fn what_a_field_is_called_counts_where_records_of_a_stream_have_different_ones() {
    let named = |field: &str| Record::new(Schema::new(["id", field]), vec![Value::from("2"), Value::from("\"said\"")]);
    let source = |field: &str| MemorySource::new("a.db", spec(notes()), vec![note("1", "one"), named(field)]);
    let world = World::with(|options| options.transforms.push(Arc::new(Redact::new())));
    world.run(&[&source("body")]);
    assert_eq!(world.bodies()["2"], Value::from("\"said\""));
    assert_eq!(world.run(&[&source("body")]).totals.unchanged, 2);
    assert_eq!(world.run(&[&source("details")]).totals.updated, 1);
    assert_eq!(world.bodies()["2"], Value::Null);
}

#[test]
fn kinds_can_be_left_alone_and_patterns_added() {
    let redact = Redact::new().without("password").expect("a kind").with_pattern("ACME-(?P<s>[0-9]{6})").expect("one");
    assert_eq!(redact.text("password=hunter2 ACME-123456").as_deref(), Some("password=hunter2 ACME-[redacted:custom]"));
    Redact::new().without("passwords").expect_err("no such kind");
    Redact::new().with_pattern("(").expect_err("no pattern");
    Redact::new().with_pattern("a*").expect_err("matches everywhere");
    assert_ne!(redact.in_place(), Redact::new().in_place());
}

#[test]
fn what_a_row_has_beside_its_columns_is_looked_through() {
    let table = notes().build().expect("a table");
    let extra = Json::from_text("{\"note\":\"password=hunter2\"}");
    let mut values = vec![Value::Null; table.columns().len()];
    values[0] = Value::from("1");
    let row = Row::new(&table, values, Some(extra));
    let mut out = Vec::new();
    let record = Record::of_row(&table, row.clone());
    Redact::new().apply(&StreamSpec::new("notes", Arc::clone(&table)), record, &mut out).expect("redacted");
    let told = format!("{out:?}");
    assert!(!told.contains("hunter2") && told.contains("[redacted:password]"), "{told}");
    let redacted = Redact::new().row(&table, &row).expect("there is one");
    assert!(!format!("{redacted:?}").contains("hunter2"), "{redacted:?}");
    assert_eq!(redacted.values, row.values);
    assert_eq!(Redact::new().row(&table, &redacted), None);
}

#[test]
fn a_table_can_be_left_alone() {
    let redact = Redact::new().without_table("notes");
    assert_ne!(redact.in_place(), Redact::new().in_place());
    let world = World::with(|options| options.transforms.push(Arc::new(redact)));
    world.run(&[&MemorySource::new("a.db", spec(notes()), vec![note("1", "password=hunter2")])]);
    assert_eq!(world.bodies()["1"], Value::from("password=hunter2"));
}

#[test]
fn an_unchanged_source_is_read_again_once_the_rules_are_others() {
    let records = || vec![note("1", "password=hunter2"), note("2", "two")];
    let source = MemorySource::new("a.db", spec(notes()), records()).fingerprint(b"as it is", true);
    let mut world = World::new();
    world.run(&[&source]);
    assert_eq!(world.bodies()["1"], Value::from("password=hunter2"));
    for (transform, body) in [(true, "password=[redacted:password]"), (false, "password=hunter2")] {
        world.options.transforms.clear();
        if transform {
            world.options.transforms.push(Arc::new(Redact::new()));
        }
        let report = world.run(&[&source]);
        assert_eq!((report.totals.updated, report.totals.unchanged), (1, 1), "{body}");
        assert_eq!(world.bodies()["1"], Value::from(body));
        let report = world.run(&[&source]);
        assert!(report.streams[0].skipped_unchanged, "{body}");
    }
}
