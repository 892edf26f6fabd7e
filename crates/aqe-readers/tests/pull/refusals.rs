//! What the file itself does not take becomes a dead letter, and the others go on.

use aqe_sync_core::Status;
use rusqlite::types::Value;

use crate::world::{AgentFile, FLOW_3, Fleet, V2, V3, add_pattern, uses};

fn letters(file: &AgentFile) -> Vec<String> {
    let state = rusqlite::Connection::open(file.state_path()).expect("opened");
    let mut statement = state.prepare("SELECT key || ': ' || reason FROM letters ORDER BY 1").expect("prepared");
    let found = statement.query_map([], |row| row.get(0)).expect("asked");
    found.collect::<rusqlite::Result<_>>().expect("read")
}

#[test]
fn a_record_whose_unique_value_another_one_has_is_refused_and_that_one_stays() {
    let fleet = Fleet::new();
    let (a, b) = (AgentFile::emptied("a", V2), AgentFile::emptied("b", V2));
    a.edit(
        "INSERT INTO patterns (id, pattern, confidence, created_at) VALUES ('p-a', 'same text', 0.9, 1768136468000);
         INSERT INTO patterns (id, pattern, confidence, created_at) VALUES ('p-c', 'other text', 0.9, 1768136468000)",
    );
    b.edit(
        "INSERT INTO patterns (id, pattern, confidence, created_at) VALUES ('p-b', 'same text', 0.1, 1768136468000)",
    );
    a.push(&fleet);
    let report = b.pull(&fleet);
    assert_eq!((report.totals.inserted, report.totals.dead_lettered), (1, 1));
    let text = |text: &str| [Value::Text(text.to_owned())];
    assert_eq!(b.query("SELECT id FROM patterns ORDER BY id"), [text("p-b"), text("p-c")]);
    let letters = letters(&b);
    assert!(letters.len() == 1 && letters[0].contains("p-a") && letters[0].contains("(id p-b)"), "{letters:?}");
}

#[test]
fn a_trigger_that_raises_refuses_one_record() {
    let fleet = Fleet::new();
    let (a, b) = (AgentFile::emptied("a", V3), AgentFile::emptied("b", V3));
    b.edit(
        "CREATE TRIGGER no_two BEFORE INSERT ON qe_patterns WHEN NEW.id = 'two' BEGIN SELECT RAISE(ABORT, 'no twos here'); END",
    );
    for id in ["one", "two", "three"] {
        add_pattern(&a, id, 0.9, 1, 1);
    }
    a.push(&fleet);
    let report = b.pull(&fleet);
    assert_eq!((report.totals.inserted, report.totals.dead_lettered), (2, 1));
    assert_eq!((uses(&b, "one"), uses(&b, "two"), uses(&b, "three")), (Some((1, 1)), None, Some((1, 1))));
    assert!(letters(&b)[0].contains("no twos here"), "{:?}", letters(&b));
    // Once the trigger is gone the next pull that looks at it brings it, and the letter goes.
    b.edit("DROP TRIGGER no_two");
    add_pattern(&a, "four", 0.9, 1, 1);
    a.push(&fleet);
    b.pull(&fleet);
    assert_eq!(uses(&b, "two"), Some((1, 1)));
    assert_eq!(letters(&b), Vec::<String>::new());
}

#[test]
fn a_trigger_that_rolls_everything_back_stops_the_pull_and_nothing_is_written() {
    let fleet = Fleet::new();
    let (a, b) = (AgentFile::emptied("a", V3), AgentFile::emptied("b", V3));
    b.edit("CREATE TRIGGER no BEFORE INSERT ON qe_patterns BEGIN SELECT RAISE(ROLLBACK, 'no'); END");
    add_pattern(&a, "one", 0.9, 1, 1);
    a.push(&fleet);
    let report = b.try_pull(&fleet, None).expect("a report");
    assert_ne!(report.status, Status::Ok);
    assert_eq!(uses(&b, "one"), None);
    assert!(b.own().values().all(Vec::is_empty));
}

#[test]
fn a_trigger_that_changes_what_is_written_is_read_back() {
    let fleet = Fleet::new();
    let (a, b) = (AgentFile::emptied("a", V3), AgentFile::emptied("b", V3));
    b.edit(
        "CREATE TRIGGER shout AFTER INSERT ON qe_patterns BEGIN UPDATE qe_patterns SET name = upper(name) WHERE id = NEW.id; END",
    );
    add_pattern(&a, "one", 0.9, 1, 1);
    a.push(&fleet);
    b.pull(&fleet);
    assert_eq!(b.number("SELECT count(*) FROM qe_patterns WHERE name = 'NAME OF ONE'"), 1);
    assert!(b.own().values().all(Vec::is_empty), "what the file made of it is not one's own");
}

#[test]
fn a_record_without_its_parent_is_refused_and_references_stay_whole() {
    let fleet = Fleet::new();
    let (a, b) = (AgentFile::of("a", V3), AgentFile::emptied("b", V3));
    b.edit("PRAGMA foreign_keys = OFF; DELETE FROM goap_goals");
    a.edit("UPDATE goap_plans SET goal_id = (SELECT id FROM goap_goals LIMIT 1) WHERE rowid % 2 = 0");
    a.push(&fleet);
    let with_goals = a.number("SELECT count(*) FROM goap_plans WHERE goal_id IS NOT NULL");
    assert!(with_goals > 0);
    let report = b.pull(&fleet);
    assert_eq!(report.totals.dead_lettered, with_goals.unsigned_abs());
    assert!(letters(&b)[0].contains("FOREIGN KEY"), "{:?}", letters(&b)[0]);
    b.is_sound();
}

#[test]
fn a_file_whose_header_field_another_program_uses_is_left_alone() {
    let fleet = Fleet::new();
    let b = AgentFile::emptied("b", V3);
    b.edit("PRAGMA application_id = 1234567");
    let error = b.try_pull(&fleet, None).expect_err("refused").to_string();
    assert!(error.contains("another program uses it"), "{error}");
}

#[test]
fn a_record_that_refers_to_one_after_it_waits_for_that() {
    let fleet = Fleet::new();
    let (a, b) = (AgentFile::emptied("a", FLOW_3), AgentFile::emptied("b", FLOW_3));
    let sql: Vec<String> = (0..20)
        .map(|number| {
            let parent = if number == 19 { "NULL".to_owned() } else { format!("'p{}'", number + 1) };
            format!(
                "INSERT INTO patterns (id, name, pattern_type, condition, action, parent_id) \
                 VALUES ('p{number}', 'n', 'learning', 'c', 'a', {parent});"
            )
        })
        .collect();
    a.edit(&format!("PRAGMA foreign_keys = OFF; {}", sql.concat()));
    a.push(&fleet);
    let report = b.pull(&fleet);
    assert_eq!((report.totals.inserted, report.totals.dead_lettered), (20, 0), "{:?}", letters(&b));
    b.is_sound();
}
