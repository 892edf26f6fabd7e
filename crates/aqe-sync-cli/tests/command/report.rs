//! The page that `report` makes, in a real browser.

use std::path::{Path, PathBuf};

use aqe_sync_workspace::postgres::Cluster;
use rusqlite::Connection;
use serde_json::Value;

use crate::browser::{Browser, Look};
use crate::program::{folder, json, run, said, sample, swarm_project, text};

const SOURCE: &str = ".swarm/memory.db";
/// What somebody could call a pattern, and must only ever be text.
const HOSTILE: [&str; 6] = [
    "<script>document.title='broken'</script>",
    "\"><img src=x onerror=\"document.title='broken'\">",
    "</style></svg><svg onload=alert(1)>",
    "{{7*7}} ${7*7} <!-- & &amp; &lt;",
    "\u{202e}desrever \u{1b}[31mred\u{7f}",
    "𝕬 ü 漢字 🦀 ]]>",
];

fn edit(root: &Path, sql: &str) {
    Connection::open(root.join(SOURCE)).and_then(|db| db.execute_batch(sql)).expect("edited");
}

fn report(root: &Path, arguments: &[&str]) -> PathBuf {
    let file = root.join("report.html");
    let output = run(root, &[&["report", "--html", file.to_str().expect("text")], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    file
}

/// Two environments that disagree, patterns with hostile names and vectors, a failed sync, and
/// records that could not be stored.
fn disputed(hub: &str) -> tempfile::TempDir {
    let project = swarm_project();
    let root = project.path();
    for (index, name) in HOSTILE.iter().enumerate() {
        let db = Connection::open(root.join(SOURCE)).expect("opened");
        let insert = "INSERT INTO patterns (id, name, pattern_type, condition, action, confidence, success_count) \
                      VALUES (?1, ?2, 'code-pattern', ?2, ?2, 0.5, ?3)";
        db.execute(insert, rusqlite::params![format!("hostile-{index}"), name, 900 + index]).expect("inserted");
    }
    run(root, &["--hub", hub, "--env", "laptop"]);
    edit(root, "UPDATE patterns SET action = 'another', confidence = 0.1 WHERE id LIKE 'hostile-%'");
    run(root, &["--hub", hub, "--env", "<b>ci</b>"]);
    run(root, &["--hub", hub, "--env", "ci"]);
    edit(
        root,
        "INSERT INTO patterns (id, name, pattern_type, condition, action) \
         VALUES ('nul' || char(0), 'n', 'code-pattern', 'c', 'a')",
    );
    run(root, &["--hub", hub, "--env", "ci"]);
    project
}

/// What `report --json` and the page say of one kind of row: by the row's name, all its figures.
fn figures(browser: &mut Browser, attribute: &str) -> Value {
    browser.value(&format!(
        "Object.fromEntries([...document.querySelectorAll('[data-{attribute}]')].map(row => \
         [row.dataset.{attribute}, Object.fromEntries([...row.querySelectorAll('data[data-name]')].map(one => \
         [one.dataset.name, Number(one.value)]))]))"
    ))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_page_shows_in_a_browser_without_a_complaint_a_request_or_a_barrier() {
    let Some(mut browser) = Browser::start() else { return };
    let empty = folder();
    std::fs::create_dir(empty.path().join(".swarm")).expect("created");
    let hub = folder();
    let disputed = disputed(&format!("sqlite:{}", hub.path().join("hub.db").display()));
    let sample = sample();
    run(sample.path(), &[]);
    let pages = [
        report(empty.path(), &[]),
        report(sample.path(), &[]),
        report(disputed.path(), &["--hub", &format!("sqlite:{}", hub.path().join("hub.db").display())]),
    ];
    for page in &pages {
        for (width, dark, print) in
            [(360, false, false), (360, true, false), (1_600, false, false), (1_600, true, false), (800, false, true)]
        {
            let look = Look { width, dark, print };
            browser.open(page, look);
            let place = format!("{} {look:?}", page.display());
            // Before anything is run in it on our behalf.
            assert_eq!(browser.complaints(), Vec::<String>::new(), "{place}");
            assert_eq!(browser.requests(), [format!("file://{}", page.display())], "{place}");
            let wide = browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(wide, 0, "{place}: the page is wider than its window");
            let small = "[...document.querySelectorAll('svg text')].filter(one => { \
                         const box = one.getBoundingClientRect(); return box.height > 0 && box.height < 11; }).length";
            if !print {
                assert_eq!(browser.value(small), 0, "{place}: letters too small to read");
            }
            let ground = browser.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(ground != "rgb(255, 255, 255)", dark, "{place}: {ground}");
            assert_eq!(browser.barriers(), Vec::<String>::new(), "{place}");
        }
    }
    // It would be seen.
    let bad = hub.path().join("bad.html");
    let broken =
        "<!DOCTYPE html><html><body><img src=\"http://localhost/x.png\"><script>console.error('e'); x()</script>";
    std::fs::write(&bad, broken).expect("written");
    browser.open(&bad, Look { width: 360, dark: false, print: false });
    assert!(browser.complaints().len() >= 2 && browser.requests().len() == 2, "{:?}", browser.complaints());
    assert!(browser.barriers().iter().any(|barrier| barrier.starts_with("image-alt")));
}

#[test]
fn whatever_things_are_called_is_text_on_the_page() {
    let Some(mut browser) = Browser::start() else { return };
    let hub = folder();
    let hub = format!("sqlite:{}", hub.path().join("hub.db").display());
    let project = disputed(&hub);
    let page = report(project.path(), &["--hub", &hub]);
    browser.open(&page, Look { width: 1_600, dark: false, print: false });
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let title = browser.value("document.title");
    assert!(title.as_str().is_some_and(|title| title.starts_with("aqe-sync: ")), "{title}");
    assert_eq!(browser.value("document.scripts.length + document.images.length"), 0);
    assert_eq!(browser.value("[...document.querySelectorAll('*')].filter(one => [...one.attributes].some(of => of.name.startsWith('on'))).length"), 0);
    let body = browser.value("document.body.textContent");
    let body = body.as_str().expect("text");
    for name in HOSTILE {
        let shown: String = name.replace('\u{202e}', "").replace('\u{1b}', "\\u{1b}").replace('\u{7f}', "\\u{7f}");
        assert!(body.contains(&shown), "{shown} is not on the page: {body}");
    }
    assert!(body.contains("1 of 3 agree; laptop wins"), "{body}");
    // Three times 905 uses.
    assert!(body.contains("2715"), "{body}");
}

#[test]
fn every_figure_on_the_page_is_the_one_of_status_and_the_metrics() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = folder();
    let local = format!("sqlite:{}", folder.path().join("hub.db").display());
    let database = Cluster::shared().database();
    for hub in [local, database.url()] {
        let project = disputed(&hub);
        let root = project.path();
        let page = report(root, &["--hub", &hub]);
        browser.open(&page, Look { width: 1_600, dark: false, print: false });
        let status = json(&run(root, &["status", "--json", "--hub", &hub]));
        let whole = json(&run(root, &["report", "--json", "--hub", &hub]));
        let metrics = text(&run(root, &["status", "--prometheus", "--hub", &hub]).stdout);
        let metric = |name: &str| -> f64 {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
            line.trim().parse().expect("a number")
        };
        for part in ["environments", "tables", "conflicts", "dead_letters", "models", "status"] {
            let (mut one, mut other) = (status[part].clone(), whole[part].clone());
            for list in [&mut one, &mut other] {
                // That grows while one looks.
                for each in list.as_array_mut().into_iter().flatten() {
                    each.as_object_mut().expect("an object").remove("age_seconds");
                    for stream in each["streams"].as_array_mut().into_iter().flatten() {
                        stream.as_object_mut().expect("an object").remove("age_seconds");
                    }
                }
            }
            assert_eq!(one, other, "{part}");
        }
        let mut compared = 0;
        let mut same = |kind: &str, name: &Value, shown: &Value, of: &Value| {
            let shown = shown.as_object().unwrap_or_else(|| panic!("{kind} {name} is not on the page"));
            for (figure, value) in shown {
                assert!((number(value) - number(&of[figure])).abs() < 1e-9, "{kind} {name} {figure}: {value} {of}");
                compared += 1;
            }
        };
        let (environments, tables) = (figures(&mut browser, "environment"), figures(&mut browser, "table"));
        for one in status["environments"].as_array().expect("a list") {
            let name = one["environment"].as_str().expect("a name");
            same("environment", &one["environment"], &environments[name], one);
            let last = metric(&format!("aqe_sync_recent_runs{{environment=\"{name}\"}}"));
            assert!((last - number(&environments[name]["runs"])).abs() < 1e-9);
        }
        for one in status["tables"].as_array().expect("a list") {
            let name = one["table"].as_str().expect("a name");
            same("table", &one["table"], &tables[name], one);
            assert!(
                (metric(&format!("aqe_sync_table_rows{{table=\"{name}\"}}")) - number(&tables[name]["rows"])).abs()
                    < 1e-9
            );
            // All that is there came with these syncs: the plot begins at nothing.
            let series = whole["rows_over_time"].as_array().expect("a list").iter().find(|of| of["table"] == name);
            let points = series.expect("a plot")["points"].as_array().expect("points").clone();
            assert_eq!(points.first().map(|point| &point[1]), Some(&Value::from(0)), "{name}");
            assert_eq!(points.last().map(|point| &point[1]), Some(&one["rows"]), "{name}");
        }
        let of_runs = figures(&mut browser, "run");
        let history = json(&run(root, &["history", "--json", "--hub", &hub]));
        for one in history["runs"].as_array().expect("a list") {
            let id = one["run_id"].as_str().expect("an id");
            let mut of = one["totals"].clone();
            of["duration_ms"] = one["duration_ms"].clone();
            of["changed"] = ["inserted", "updated", "merged", "deleted"]
                .iter()
                .map(|part| of[*part].as_u64().unwrap_or(0))
                .sum::<u64>()
                .into();
            same("run", &one["run_id"], &of_runs[id], &of);
        }
        let of_hub = &figures(&mut browser, "of")["hub"];
        assert!((number(&of_hub["conflicts"]) - number(&status["conflicts"])).abs() < 1e-9);
        assert!((number(&of_hub["dead_letters"]) - metric("aqe_sync_dead_letters ")).abs() < 1e-9);
        assert!((number(&of_hub["disputed"]) - number(&whole["insight"]["disputed"])).abs() < 1e-9);
        assert_eq!(browser.value("document.querySelector('.badge').dataset.status"), status["status"]);
        let kinds = browser.value("[...document.querySelectorAll('[data-kind]')].map(one => one.dataset.kind)");
        let crossed: Vec<&Value> =
            status["findings"].as_array().expect("a list").iter().map(|one| &one["kind"]).collect();
        assert_eq!(kinds.as_array().expect("a list").iter().collect::<Vec<_>>(), crossed);
        assert!(compared > 50, "{compared}");
    }
}

#[test]
fn a_page_takes_the_place_of_a_page_and_of_nothing_else() {
    let project = sample();
    let root = project.path();
    run(root, &[]);
    let hub = root.join(".aqe-sync/hub.db");
    let before = std::fs::read(&hub).expect("read");
    let refused = run(root, &["report", "--html", ".aqe-sync/hub.db"]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(said(&refused).contains("is no report of aqe-sync"), "{}", said(&refused));
    assert_eq!(std::fs::read(&hub).expect("read"), before);
    for (file, what) in [(".", "is a folder"), ("no/such/folder/r.html", "there is no folder")] {
        let refused = run(root, &["report", "--html", file]);
        assert!(refused.status.code() == Some(3) && said(&refused).contains(what), "{}", said(&refused));
    }
    assert_eq!(run(root, &["report"]).status.code(), Some(3));

    let page = root.join("page.html");
    std::fs::write(&page, "").expect("written");
    std::os::unix::fs::symlink(&page, root.join("link.html")).expect("linked");
    for _ in 0..2 {
        let written = run(root, &["report", "--html", "link.html"]);
        assert_eq!(written.status.code(), Some(0), "{}", said(&written));
    }
    assert!(root.join("link.html").is_symlink());
    let text = std::fs::read_to_string(&page).expect("read");
    assert!(text.starts_with("<!DOCTYPE html>") && text.trim_end().ends_with("</html>"), "{text}");
    let printed = run(root, &["-q", "report", "--html", "-"]);
    assert!(printed.stdout.starts_with(b"<!DOCTYPE html>"), "{}", said(&printed));
    assert!(printed.stderr.is_empty());
    let left: Vec<_> = std::fs::read_dir(root)
        .expect("listed")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    assert!(!left.iter().any(|name| name.starts_with(".aqe-sync-report")), "{left:?}");
}

#[test]
fn without_its_hub_the_page_says_so_and_shows_what_this_installation_knows() {
    let project = sample();
    let root = project.path();
    let nowhere = "postgres://nobody@127.0.0.1:1/x?connect_timeout=1";
    run(root, &["--hub", nowhere]);
    let output = run(root, &["report", "--html", "r.html", "--hub", nowhere]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let text = std::fs::read_to_string(root.join("r.html")).expect("written all the same");
    assert!(text.contains("nothing answers") && text.contains("data-kind=\"unreachable\""), "{text}");
}

#[test]
fn what_was_learned_is_from_whom_the_fleet_listens_to_and_maps_have_every_embedding_once() {
    let folder = folder();
    let hub = format!("sqlite:{}", folder.path().join("hub.db").display());
    let learned = |root: &Path| {
        let output = run(root, &["report", "--json", "--hub", &hub]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        json(&output)["insight"].clone()
    };
    let project = sample();
    let root = project.path();
    let qe = Connection::open(root.join(".agentic-qe/memory.db")).expect("opened");
    // A clock that was wrong is no reason to be the newest for ever.
    qe.execute_batch("UPDATE patterns SET created_at = 4102444800000 WHERE id = (SELECT min(id) FROM patterns)")
        .expect("changed");
    for environment in ["laptop", "ci"] {
        assert_eq!(run(root, &["--hub", &hub, "--env", environment]).status.code(), Some(0));
    }
    let both = learned(root);
    let db = Connection::open(folder.path().join("hub.db")).expect("opened");
    let count = |sql: &str| -> u64 { db.query_row(sql, [], |row| row.get(0)).expect("counted") };
    let maps = both["maps"].as_array().expect("a list");
    for (model, dimensions, sql) in [
        ("all-MiniLM-L6-v2", 384, "SELECT count(DISTINCT id) FROM qe_patterns WHERE embedding IS NOT NULL"),
        (
            "sona_patterns.state_embedding",
            384,
            "SELECT count(DISTINCT id) FROM sona_patterns WHERE state_embedding IS NOT NULL",
        ),
        (
            "intelligence_memories.embedding",
            64,
            "SELECT count(DISTINCT id) FROM intelligence_memories WHERE embedding IS NOT NULL",
        ),
    ] {
        let map = maps.iter().find(|map| map["model"] == model).unwrap_or_else(|| panic!("no map of {model}: {both}"));
        assert_eq!((&map["dimensions"], &map["vectors"]), (&dimensions.into(), &count(sql).into()), "{model}");
        assert_eq!(
            map["points"].as_array().map(Vec::len),
            map["vectors"].as_u64().and_then(|all| usize::try_from(all).ok())
        );
        assert!(map["explained"].as_f64().is_some_and(|share| share > 0.0 && share <= 1.0), "{model}");
    }
    assert_eq!(maps.len(), 3);
    assert_eq!((&both["shared"], &both["disputed"]), (&both["records"], &0.into()), "both say the same");
    for list in ["lately", "most_used"] {
        let records = both[list].as_array().expect("a list");
        assert_eq!(records.len(), 20, "{list}");
        assert!(records.iter().all(|one| one["environments"] == 2 && one["agreeing"] == 2), "{list}");
    }
    let moments: Vec<&str> =
        both["lately"].as_array().expect("a list").iter().filter_map(|one| one["created"].as_str()).collect();
    assert!(moments.is_sorted_by(|a, b| a >= b) && moments[0] < "2099", "{moments:?}");
    let uses: Vec<i64> =
        both["most_used"].as_array().expect("a list").iter().filter_map(|one| one["uses"].as_i64()).collect();
    assert!(uses.is_sorted_by(|a, b| a >= b) && uses.len() == 20, "{uses:?}");

    assert_eq!(run(root, &["fleet", "exclude", "ci", "--hub", &hub]).status.code(), Some(0));
    let one = learned(root);
    assert_eq!((&one["shared"], &one["excluded"]), (&0.into(), &serde_json::json!(["ci"])));
    assert_eq!(one["records"], both["records"]);
    let half: Vec<i64> =
        one["most_used"].as_array().expect("a list").iter().filter_map(|one| one["uses"].as_i64()).collect();
    assert_eq!(half.iter().map(|uses| uses * 2).collect::<Vec<_>>(), uses, "what everybody used adds up");
}

#[test]
fn a_hub_that_an_older_version_made_is_shown_as_it_is() {
    let database = Cluster::shared().database();
    let (project, url) = (sample(), database.url());
    let root = project.path();
    run(root, &["--hub", &url]);
    // As it was before there were vectors and a history by stream.
    database.psql(
        "DROP TABLE aqe.vectors, aqe.vector_progress CASCADE; ALTER TABLE aqe.sync_history DROP COLUMN streams; \
         DELETE FROM aqe.schema_migrations WHERE number > 4",
    );
    // Another installation: this one has notes of its own.
    let other = sample();
    let output = run(other.path(), &["report", "--json", "--hub", &url]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("older than this program"), "{}", said(&output));
    let page = json(&output);
    assert!(page["insight"]["records"].as_u64().is_some_and(|records| records > 400), "{page}");
    // Nobody wrote down which streams that sync had: where rows come from is not made up.
    assert!(
        page["rows_over_time"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|series| series["points"] == serde_json::json!([]))
    );
    assert_eq!(database.psql("SELECT max(number) FROM aqe.schema_migrations").trim(), "4", "a look changes nothing");
}
