//! What every transform has to keep.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::source::{print_of, shown};
use super::values::hostile_values;
use super::violation::{Checked, Rule, Violation};
use crate::{Record, StreamSpec, Transform};

/// Checks a transform with records of a stream, and with each of them again where
/// every field holds hostile values in turn.
///
/// # Errors
/// The first rule that is broken; also when there are no records, or none of them
/// made the transform put out anything.
pub fn check_transform<T>(transform: &T, stream: &StreamSpec, records: &[Record]) -> Result<Checked, Violation>
where
    T: Transform + ?Sized,
{
    if records.is_empty() {
        return Err(Violation::new(Rule::HasSomethingToCheck, "no records were given"));
    }
    let mut checked = Checked::default();
    let all: Vec<Record> = records.iter().cloned().chain(hostile_variants(records)).collect();
    let mut first = Vec::with_capacity(all.len());
    let mut put_out = 0;
    for record in &all {
        let outcome = apply(transform, stream, record, Vec::new(), &mut checked)?;
        put_out += outcome.as_ref().map_or(0, Vec::len);
        first.push(outcome);
    }
    if put_out == 0 {
        return Err(Violation::new(Rule::HasSomethingToCheck, "no record made the transform put out anything"));
    }
    // The other way round: nothing that was seen before may count.
    for (record, before) in all.iter().zip(&first).rev() {
        let again = apply(transform, stream, record, Vec::new(), &mut checked)?;
        checked.hold(Rule::Deterministic, prints(&again) == prints(before), || {
            format!("{} gave {}, and at another time {}", shown(record), told(before), told(&again))
        })?;
    }
    for (record, before) in all.iter().zip(&first) {
        let others = apply(transform, stream, record, vec![records[0].clone()], &mut checked)?;
        let (Ok(before), Ok(others)) = (before, &others) else { continue };
        let wanted = [&records[..1], before].concat();
        let as_wanted = wanted.iter().map(print_of).eq(others.iter().map(print_of));
        checked.hold(Rule::AddsToItsOutputOnly, as_wanted, || {
            let others = Ok(others.clone());
            format!("with one record in its output already, {} made it {}", shown(record), told(&others))
        })?;
    }
    Ok(checked)
}

type Outcome = Result<Vec<Record>, String>;

fn apply<T: Transform + ?Sized>(
    transform: &T,
    stream: &StreamSpec,
    record: &Record,
    mut out: Vec<Record>,
    checked: &mut Checked,
) -> Result<Outcome, Violation> {
    let applied = catch_unwind(AssertUnwindSafe(|| transform.apply(stream, record.clone(), &mut out)));
    checked.hold(Rule::Total, applied.is_ok(), || format!("it panicked at {}", shown(record)))?;
    // `hold` ended where there was a panic.
    Ok(applied.map_or(Err(String::new()), |result| result.map_err(|error| error.to_string())).map(|()| out))
}

fn prints(outcome: &Outcome) -> Result<Vec<Vec<u8>>, &String> {
    outcome.as_ref().map(|records| records.iter().map(print_of).collect())
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Ok(records) => format!("[{}]", records.iter().map(shown).collect::<Vec<_>>().join("; ")),
        Err(error) => format!("the error {error}"),
    }
}

/// The records with one field after the other replaced by what makes trouble.
fn hostile_variants(records: &[Record]) -> impl Iterator<Item = Record> + '_ {
    hostile_values().into_iter().enumerate().map(|(number, value)| {
        let mut record = records[number % records.len()].clone();
        let fields = record.schema().fields();
        if let Some(field) = fields.get(number % fields.len().max(1)).cloned() {
            record.set(&field, value);
        }
        record
    })
}
