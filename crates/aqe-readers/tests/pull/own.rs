//! Own and others: what the agent counts after a pull is its own, what was pulled is not.

use aqe_sync_core::{Key, Value as Hub, tables};

use crate::world::{AgentFile, Fleet, V3, add_pattern, use_pattern, uses};

fn key(id: &str) -> Key {
    Key::new(vec![Hub::from(id)])
}

/// What an environment contributes to the uses of a pattern.
fn contributed(fleet: &Fleet, environment: &str, id: &str) -> Option<i64> {
    let spec = tables::find("qe_patterns").expect("a table");
    let one = fleet.contribution(environment, "qe_patterns", &key(id)).filter(|one| !one.deleted)?;
    match one.row.values[spec.position("usage_count").expect("a column")] {
        Hub::Int(number) => Some(number),
        _ => None,
    }
}

fn pair() -> (std::sync::Arc<Fleet>, AgentFile, AgentFile) {
    (Fleet::new(), AgentFile::emptied("a", V3), AgentFile::emptied("b", V3))
}

#[test]
fn what_is_counted_after_a_pull_is_pushed_exactly() {
    let (fleet, a, b) = pair();
    add_pattern(&a, "p", 0.9, 3, 2);
    a.push(&fleet);
    assert_eq!(b.pull(&fleet).totals.inserted, 1);
    assert_eq!(uses(&b, "p"), Some((3, 2)));
    use_pattern(&b.open(), "p", true);
    use_pattern(&b.open(), "p", false);
    b.push(&fleet);
    assert_eq!(contributed(&fleet, "b", "p"), Some(2));
    use_pattern(&a.open(), "p", true);
    a.push(&fleet);
    b.pull(&fleet);
    assert_eq!(uses(&b, "p"), Some((6, 4)));
    // Once more, and the other way round: nobody's count is anybody else's.
    b.pull(&fleet);
    b.push(&fleet);
    a.pull(&fleet);
    a.push(&fleet);
    assert_eq!((contributed(&fleet, "a", "p"), contributed(&fleet, "b", "p")), (Some(4), Some(2)));
    assert_eq!((uses(&a, "p"), uses(&b, "p")), (Some((6, 4)), Some((6, 4))));
}

#[test]
fn what_was_deleted_here_does_not_come_back() {
    let (fleet, a, b) = pair();
    add_pattern(&a, "p", 0.9, 3, 2);
    a.push(&fleet);
    b.pull(&fleet);
    b.edit("DELETE FROM qe_patterns");
    use_pattern(&a.open(), "p", true);
    a.push(&fleet);
    for _ in 0..2 {
        assert_eq!(b.pull(&fleet).totals.inserted, 0);
        assert_eq!(uses(&b, "p"), None);
    }
    assert_eq!(contributed(&fleet, "a", "p"), Some(4));
}

#[test]
fn a_record_of_ones_own_that_was_deleted_before_any_pull_does_not_come_back() {
    let (fleet, a, b) = pair();
    add_pattern(&a, "p", 0.9, 3, 2);
    add_pattern(&b, "p", 0.5, 1, 1);
    a.push(&fleet);
    b.push(&fleet);
    b.edit("DELETE FROM qe_patterns");
    b.push(&fleet);
    b.pull(&fleet);
    assert_eq!(uses(&b, "p"), None);
    // Made again, it takes part again.
    add_pattern(&b, "p", 0.5, 1, 1);
    b.push(&fleet);
    b.pull(&fleet);
    assert_eq!(uses(&b, "p"), Some((4, 3)));
}

#[test]
fn a_record_that_nobody_trusted_has_any_more_is_taken_out_again_and_what_was_counted_stays() {
    let (fleet, a, b) = pair();
    add_pattern(&a, "p", 0.9, 3, 2);
    add_pattern(&a, "unused", 0.9, 3, 2);
    add_pattern(&b, "mine", 0.5, 5, 5);
    a.push(&fleet);
    b.pull(&fleet);
    use_pattern(&b.open(), "p", true);
    b.push(&fleet);
    fleet.exclude_now("a", true);
    b.pull(&fleet);
    assert_eq!((uses(&b, "p"), uses(&b, "unused"), uses(&b, "mine")), (None, None, Some((5, 5))));
    b.push(&fleet);
    assert_eq!(contributed(&fleet, "b", "p"), Some(1), "what was counted with it is still sent");
    fleet.exclude_now("a", false);
    b.pull(&fleet);
    assert_eq!((uses(&b, "p"), uses(&b, "unused")), (Some((4, 3)), Some((3, 2))));
    b.push(&fleet);
    assert_eq!((contributed(&fleet, "b", "p"), contributed(&fleet, "b", "unused")), (Some(1), None));
}

#[test]
fn content_that_was_edited_here_becomes_ones_own() {
    let (fleet, a, b) = pair();
    add_pattern(&a, "p", 0.5, 3, 2);
    a.push(&fleet);
    b.pull(&fleet);
    b.edit("UPDATE qe_patterns SET description = 'edited by b', confidence = 0.8");
    b.push(&fleet);
    a.pull(&fleet);
    let sql = "SELECT count(*) FROM qe_patterns WHERE description = 'edited by b' AND usage_count = 3";
    assert_eq!((a.number(sql), b.number(sql)), (1, 1));
}
