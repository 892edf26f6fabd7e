//! The kit itself: what is sound passes, and what is broken is named by its rule.

mod broken_sink;
mod faults;
mod rules;
mod shelf;
mod sinks;
mod sources;

use aqe_sync_core::testkit::{Checked, Rule, Violation};

/// The violation names the rule that was broken on purpose.
fn assert_breaks(result: Result<Checked, Violation>, rule: Rule, flaw: &str) {
    let violation = result.expect_err(flaw);
    assert_eq!(violation.rule, rule, "{flaw}: {violation}");
    assert!(violation.to_string().contains(rule.name()), "{violation}");
    assert!(violation.details.len() > 20, "{violation} says too little");
}

/// The rules were all checked.
fn assert_checked(checked: &Checked, rules: &[Rule]) {
    for rule in rules {
        assert!(checked.of(*rule) > 0, "{rule} was not checked: {checked:?}");
    }
}
