//! `aqe-sync embed` and `aqe-sync search` with the real model, run as users run them.
//!
//! The model's folder is named by `AQE_TEST_MODEL`; without it the tests say so and are skipped,
//! unless `AQE_TEST_REQUIRE_ALL` is set.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aqe_sync_workspace::{environment, folders};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

fn model() -> Option<PathBuf> {
    let found = environment::folder(environment::MODEL);
    if found.is_none() {
        assert!(environment::read(environment::REQUIRE_ALL).is_none(), "AQE_TEST_MODEL names no folder");
        eprintln!("skipped: AQE_TEST_MODEL names no folder with the model");
    }
    found
}

/// A project with the memories of a whole fixture, and a cache folder that is empty.
struct Project(TempDir);

impl Project {
    fn of(fixture: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        folders::copy(&fixtures.join(fixture), &folder.path().join("project"));
        Self(folder)
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("project")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aqe-sync"));
        for name in ["AQE_HUB", "AQE_MODEL_DIR", "NO_COLOR", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command.env("AQE_ENV", "laptop").env("XDG_CACHE_HOME", self.0.path().join("cache"));
        command.arg("--root").arg(self.root()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.code().is_some_and(|code| code < 2), "{}", said(&output));
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.root().join("aqe-sync.toml"), text).expect("written");
    }

    fn hub(&self) -> Connection {
        let path = self.root().join(".aqe-sync/hub.db");
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a hub")
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn count(hub: &Connection, sql: &str) -> u64 {
    hub.query_row(sql, [], |row| row.get(0)).expect("a number")
}

#[test]
fn what_is_embedded_once_is_found_and_not_embedded_again() {
    let Some(model) = model() else { return };
    let model = model.to_str().expect("text");
    let project = Project::of("agentic-qe-3.3.0");
    assert!(project.run(&[]).status.success());
    let dry = project.json(&["embed", "--dry-run"]);
    let wanted = dry["embedded"].as_u64().expect("a number");
    assert!(wanted > 100 && dry["dry_run"] == true, "{dry}");
    let done = project.json(&["embed", "--model-dir", model]);
    assert_eq!(done["embedded"], wanted, "{done}");
    assert_eq!(done["model"], "all-MiniLM-L6-v2@53aa51172d14/mean/l2/256");
    let hub = project.hub();
    assert_eq!(count(&hub, "SELECT count(*) FROM vectors WHERE length(vector) = 4 * 384"), wanted);
    for (arguments, expected) in [(&["embed", "--dry-run"][..], 0), (&["embed", "--model-dir", model], 0)] {
        assert_eq!(project.json(arguments)["looked_at"], expected);
    }
    let found = project.json(&["search", "tests that pass only now and then", "-k", "3", "--model-dir", model]);
    let first = &found["hits"][0];
    assert_eq!(
        (first["table"].as_str(), first["environment"].as_str()),
        (Some("goap_actions"), Some("laptop")),
        "{found}"
    );
    assert!(first["similarity"].as_f64().expect("a number") > 0.4, "{found}");
    assert!(first["text"].as_str().is_some_and(|text| text.contains("flaky")), "{found}");
    assert_eq!(found["hits"].as_array().map(Vec::len), Some(3));
    let key = first["key"].as_str().expect("text").to_owned();
    let like = project.json(&["search", "--like", &key, "-k", "2"]);
    assert_eq!(like["hits"].as_array().map(Vec::len), Some(2), "{like}");
    assert!(like["hits"].as_array().expect("hits").iter().all(|hit| hit["key"] != key), "{like}");
    let text = said(&project.run(&["search", "tests that pass only now and then", "--model-dir", model]));
    assert!(text.contains("goap_actions") && text.contains("similarity"), "{text}");
    let checked = project.json(&["verify", "--vectors", "--sample", "20"]);
    assert_eq!((checked["status"].as_str(), checked["vectors"][0]["recall"].as_f64()), (Some("match"), Some(1.0)));
    // Words go without a model.
    let words = project.run(&["search", "fix-flaky-tests"]);
    assert!(said(&words).contains("searched words only") && words.status.success(), "{}", said(&words));
}

#[test]
fn a_sync_embeds_what_it_sent_where_that_is_wanted_and_never_fails_for_it() {
    let Some(model) = model() else { return };
    let project = Project::of("claude-flow-2.7.47");
    project.configure("[embed]\non_sync = true\nmodel_dir = \"nowhere\"\n");
    let output = project.run(&[]);
    assert!(output.status.success() && said(&output).contains("nothing was embedded"), "{}", said(&output));
    project.configure(&format!("[embed]\non_sync = true\nmodel_dir = {:?}\n", model.to_str().expect("text")));
    let report = project.json(&[]);
    assert!(report["embed"]["embedded"].as_u64().is_some_and(|embedded| embedded > 0), "{report}");
    assert_eq!(project.json(&[])["embed"]["looked_at"], 0);
    let listed = said(&project.run(&["config"]));
    assert!(listed.contains("embed.on_sync") && listed.contains("line 2"), "{listed}");
}

#[test]
fn without_a_model_it_is_said_how_to_get_one() {
    let project = Project::of("claude-flow-2.7.47");
    assert!(project.run(&[]).status.success());
    project.configure("[embed]\ndownload = false\n");
    let output = project.run(&["embed"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--model-dir") && said(&output).contains("tokenizer.json"), "{}", said(&output));
    let damaged = project.0.path().join("damaged");
    std::fs::create_dir(&damaged).expect("a folder");
    std::fs::write(damaged.join("tokenizer.json"), "{}").expect("written");
    std::fs::write(damaged.join("model.safetensors"), "junk").expect("written");
    let output = project.run(&["embed", "--model-dir", damaged.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("fetch the model's files anew"), "{}", said(&output));
    let output = project.run(&["search", " "]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&project.run(&["search", "anything"])).contains("no vectors yet"));
}

/// Ends the program as a power cut would, at different moments.
#[test]
fn a_run_that_is_killed_loses_one_batch_and_repeats_none() {
    let Some(model) = model() else { return };
    let model = model.to_str().expect("text");
    let project = Project::of("public-orochi-db");
    assert!(project.run(&["--sources", "*"]).status.success());
    let texts = project.json(&["embed", "--dry-run"])["computed"].as_u64().expect("a number");
    let hub = project.hub();
    let distinct = "SELECT count(DISTINCT text_hash) FROM vectors";
    let mut kept = 0;
    for _ in 0..3 {
        let mut running = project.command(&["embed", "--model-dir", model, "-q"]);
        let mut running = running.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        // Until another batch is kept, or all of it is.
        while count(&hub, distinct) == kept && running.try_wait().expect("it runs").is_none() {
            std::thread::yield_now();
        }
        running.kill().expect("killed");
        running.wait().expect("gone");
        kept = count(&hub, distinct);
        let astray = "SELECT count(*) FROM vectors AS v LEFT JOIN vector_blocks AS b
             ON b.place = v.place AND b.number = v.slot / 64
             WHERE b.id IS NULL OR unhex(format('%02X', v.id % 256)) <> substr(b.entries, v.slot % 64 * 400 + 1, 1)";
        assert_eq!(count(&hub, astray), 0, "a vector without its code");
        let slots = "SELECT count(*) FROM (SELECT DISTINCT place, slot FROM vectors)";
        assert_eq!(count(&hub, "SELECT count(*) FROM vectors"), count(&hub, slots));
    }
    let rest = project.json(&["embed", "--model-dir", model]);
    assert_eq!(rest["computed"].as_u64(), Some(texts - kept), "what was kept is not computed again: {rest}");
    assert_eq!(count(&hub, distinct), texts);
    assert_eq!(
        count(&hub, "SELECT count(*) FROM (SELECT DISTINCT place, key FROM vectors)"),
        count(&hub, "SELECT count(*) FROM vectors")
    );
}
