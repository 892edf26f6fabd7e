//! Sinks, sound and broken.

use aqe_sync_core::testkit::{FaultySink, Rule, SinkCase, check_sink};
use futures::executor::block_on;

use super::broken_sink::{BrokenSink, Flaw};
use super::{assert_breaks, assert_checked};
use crate::support::memory_sink::MemorySink;

const RULES: [Rule; 7] = [
    Rule::RowsAndCheckpointTogether,
    Rule::RollbackLeavesNoTrace,
    Rule::ReapplyHasNoEffect,
    Rule::ConflictsAreExact,
    Rule::ValuesRoundTrip,
    Rule::ConcurrentWriters,
    Rule::AnswersAgree,
];

#[test]
fn a_sound_sink_passes_every_rule() {
    for sink in [MemorySink::default(), MemorySink::with_lanes(4)] {
        let census = || async { format!("{:#?}", sink.hub()) };
        let case = SinkCase::new(|| async { sink.clone() }).census(census);
        assert_checked(&block_on(check_sink(&case)).unwrap(), &RULES);
        // Again in the same store: what is there already does not matter.
        assert_checked(&block_on(check_sink(&case)).unwrap(), &RULES);
    }
}

#[test]
fn a_wrapper_that_breaks_nothing_keeps_every_rule() {
    let sink = MemorySink::default();
    let case = SinkCase::new(|| async { FaultySink::new(sink.clone()) }).reads_wait_for_writes();
    assert_checked(&block_on(check_sink(&case)).unwrap(), &RULES);
}

#[test]
fn every_flaw_of_a_sink_is_named_by_its_rule() {
    let flaws = [
        (Flaw::RowsWithoutCheckpoint, Rule::RowsAndCheckpointTogether),
        (Flaw::StuckSequence, Rule::RowsAndCheckpointTogether),
        (Flaw::WritesAtOnce, Rule::RowsAndCheckpointTogether),
        (Flaw::KeepsAnInsert, Rule::RollbackLeavesNoTrace),
        (Flaw::KeepsALetter, Rule::RollbackLeavesNoTrace),
        (Flaw::Recounts, Rule::ReapplyHasNoEffect),
        (Flaw::CountsEveryDelete, Rule::ReapplyHasNoEffect),
        (Flaw::ContestsTombstones, Rule::ReapplyHasNoEffect),
        (Flaw::MissesAConflict, Rule::ConflictsAreExact),
        (Flaw::HidesContributions, Rule::ConflictsAreExact),
        (Flaw::LosesAnUpdate, Rule::ConcurrentWriters),
        (Flaw::AddsUpWrongly, Rule::AnswersAgree),
        (Flaw::LosesTheSignOfZero, Rule::ValuesRoundTrip),
        (Flaw::LosesNan, Rule::ValuesRoundTrip),
        (Flaw::LosesNul, Rule::ValuesRoundTrip),
        (Flaw::RoundsLargeInts, Rule::ValuesRoundTrip),
    ];
    for (flaw, rule) in flaws {
        let broken = BrokenSink { sink: MemorySink::default(), flaw };
        let case = SinkCase::new(|| async { broken.clone() }).census(|| async { format!("{:#?}", broken.sink.hub()) });
        assert_breaks(block_on(check_sink(&case)), rule, &format!("{flaw:?}"));
    }
    let sound = BrokenSink { sink: MemorySink::default(), flaw: Flaw::None };
    assert_checked(&block_on(check_sink(&SinkCase::new(|| async { sound.clone() }))).unwrap(), &RULES);
}

#[test]
fn a_store_that_is_another_one_each_time_is_not_checked() {
    let case = SinkCase::new(|| async { MemorySink::default() });
    let violation = block_on(check_sink(&case)).expect_err("nothing can be found again");
    assert_eq!(violation.rule, Rule::RowsAndCheckpointTogether, "{violation}");
}
