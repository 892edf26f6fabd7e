//! Sources, sound and broken.

use aqe_sync_core::testkit::{Rule, SourceCase, check_source};
use futures::executor::block_on;

use super::shelf::{Flaw, Rows, Shelf, change, rows};
use super::{assert_breaks, assert_checked};
use crate::support::memory_source::{Ending, MemorySource};
use crate::support::note::{note, notes, spec};

fn case(rows: &Rows, flaw: Flaw) -> SourceCase<'_, Shelf> {
    SourceCase::new(move || async move { Shelf::new(rows, flaw) })
        .changed_by(move || async move { change(rows) })
        .panicking(move || async move { Shelf::new(rows, flaw).panicking() })
}

#[test]
fn a_sound_source_passes_every_rule() {
    let rows = rows(12);
    let checked = block_on(check_source(&case(&rows, Flaw::None))).unwrap();
    let rules = [
        Rule::Repeatable,
        Rule::KeepsToTheRequest,
        Rule::OneSnapshot,
        Rule::ResumesWithTheRemainder,
        Rule::EarlyDropIsSafe,
        Rule::PanicIsAnError,
        Rule::FingerprintSeesChanges,
    ];
    assert_checked(&checked, &rules);
    assert!(checked.of(Rule::ResumesWithTheRemainder) > 24, "cut at every batch");
}

#[test]
fn a_source_of_several_streams_passes() {
    let open = || async {
        let records = |from: usize| (from..from + 9).map(|number| note(&number.to_string(), "one")).collect();
        let mut second = spec(notes());
        second.name = "more".into();
        let mut empty = spec(notes());
        empty.name = "none".into();
        MemorySource::new("a.db", spec(notes()), records(0)).and(second, records(4)).and(empty, Vec::new())
    };
    let checked = block_on(check_source(&SourceCase::new(open))).unwrap();
    assert!(checked.rules().all(|rule| rule != Rule::OneSnapshot), "nobody said how it changes");
}

#[test]
fn every_flaw_of_a_source_is_named_by_its_rule() {
    let flaws = [
        (Flaw::RepeatsAfterACut, Rule::ResumesWithTheRemainder),
        (Flaw::ForgetsAfterACut, Rule::ResumesWithTheRemainder),
        (Flaw::Wears, Rule::Repeatable),
        (Flaw::StuckFingerprint, Rule::FingerprintSeesChanges),
        (Flaw::CountingFingerprint, Rule::FingerprintSeesChanges),
        (Flaw::RestlessFingerprint, Rule::HasSomethingToCheck),
        (Flaw::LooksWhileReading, Rule::OneSnapshot),
        (Flaw::SwallowsPanics, Rule::PanicIsAnError),
        (Flaw::LetsPanicsThrough, Rule::PanicIsAnError),
        (Flaw::SharesItsPosition, Rule::EarlyDropIsSafe),
        (Flaw::Unmarked, Rule::KeepsToTheRequest),
        (Flaw::Hasty, Rule::KeepsToTheRequest),
    ];
    for (flaw, rule) in flaws {
        let rows = rows(12);
        assert_breaks(block_on(check_source(&case(&rows, flaw))), rule, &format!("{flaw:?}"));
    }
}

#[test]
fn a_source_that_ends_badly_is_not_one_that_was_read() {
    for ending in [Ending::Unmarked, Ending::Error, Ending::LateError] {
        let records = || vec![note("1", "one"), note("2", "two")];
        let open = || async move { MemorySource::new("a.db", spec(notes()), records()).ending(ending) };
        let rule = if ending == Ending::Unmarked { Rule::KeepsToTheRequest } else { Rule::Repeatable };
        assert_breaks(block_on(check_source(&SourceCase::new(open))), rule, &format!("{ending:?}"));
    }
}

#[test]
fn a_check_that_sees_nothing_fails() {
    for count in [0, 1] {
        let rows = rows(count);
        let open = || async { Shelf::new(&rows, Flaw::None) };
        let checked = block_on(check_source(&SourceCase::new(open)));
        assert_breaks(checked, Rule::HasSomethingToCheck, "next to no records");
    }
    let rows = rows(5);
    let open = || async { Shelf::new(&rows, Flaw::None) };
    let unsaid = block_on(check_source(&SourceCase::new(open)));
    assert_breaks(unsaid, Rule::HasSomethingToCheck, "fingerprints, and no word on how it changes");
    let unchanged = SourceCase::new(open).changed_by(|| async {});
    assert_breaks(block_on(check_source(&unchanged)), Rule::HasSomethingToCheck, "a change that changes nothing");
}
