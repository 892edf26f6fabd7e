//! What every merge has to be: commutative, associative, idempotent.

use std::fmt::Debug;

use super::violation::{Checked, Rule, Violation};

/// So many parts at once: their permutations are all tried.
const AT_ONCE: usize = 4;

/// Checks a merge of any number of parts, at least one.
///
/// All groups of up to four of `samples` that stand next to each other are merged in
/// every order, with every part repeated, and in every split into two merges.
///
/// ```
/// use aqe_sync_core::testkit::check_merge;
///
/// let largest = |parts: &[i64]| parts.iter().copied().max().unwrap();
/// check_merge(largest, &[3, -1, 8, 3])?;
/// let sum = |parts: &[i64]| parts.iter().sum();
/// assert!(check_merge(sum, &[3, -1, 8]).unwrap_err().to_string().contains("is idempotent"));
/// # Ok::<(), aqe_sync_core::testkit::Violation>(())
/// ```
///
/// # Errors
/// The first rule that is broken; also when `samples` has fewer than three different values.
pub fn check_merge<T, F>(merge: F, samples: &[T]) -> Result<Checked, Violation>
where
    T: PartialEq + Clone + Debug,
    F: Fn(&[T]) -> T,
{
    let mut different: Vec<&T> = Vec::new();
    for sample in samples {
        if !different.contains(&sample) {
            different.push(sample);
        }
    }
    if different.len() < 3 {
        let found = format!("{} different samples; a merge needs at least 3", different.len());
        return Err(Violation::new(Rule::HasSomethingToCheck, found));
    }
    let mut checked = Checked::default();
    let groups: Vec<&[T]> = (1..=AT_ONCE.min(samples.len())).flat_map(|size| samples.windows(size)).collect();
    for (rule, variants) in [
        (Rule::Commutative, reordered as fn(&F, &[T]) -> Vec<Vec<T>>),
        (Rule::Associative, in_two_steps),
        (Rule::Idempotent, repeated),
    ] {
        for group in &groups {
            let whole = merge(group);
            for parts in variants(&merge, group) {
                let other = merge(&parts);
                checked.hold(rule, other == whole, || {
                    format!("merging {group:?} gives {whole:?}, but as {parts:?} it is {other:?}")
                })?;
            }
        }
    }
    Ok(checked)
}

fn reordered<T: Clone, F>(_: &F, group: &[T]) -> Vec<Vec<T>> {
    let order = |order: Vec<usize>| order.into_iter().map(|position| group[position].clone()).collect();
    permutations(group.len()).into_iter().map(order).collect()
}

fn in_two_steps<T: Clone, F: Fn(&[T]) -> T>(merge: &F, group: &[T]) -> Vec<Vec<T>> {
    let splits = (1..group.len()).map(|split| group.split_at(split));
    let both = splits.flat_map(|(one, other)| {
        [vec![merge(one), merge(other)], [&[merge(one)], other].concat(), [one, &[merge(other)]].concat()]
    });
    both.collect()
}

fn repeated<T: Clone, F: Fn(&[T]) -> T>(merge: &F, group: &[T]) -> Vec<Vec<T>> {
    let whole = merge(group);
    let again = group.iter().map(|part| vec![whole.clone(), part.clone()]);
    [vec![whole.clone()], [group, group].concat()].into_iter().chain(again).collect()
}

/// All orders of so many positions.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for position in 0..count {
        let longer = |order: Vec<usize>| {
            (0..=order.len()).map(move |at| {
                let mut order = order.clone();
                order.insert(at, position);
                order
            })
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}
