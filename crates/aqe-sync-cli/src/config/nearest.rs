//! "Did you mean …": the known name that a mistyped one is closest to.

/// The closest of the known names, if any is close at all.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    let closest = known.iter().map(|known| (distance(&name, known), *known)).min()?;
    (closest.0 <= closest.1.chars().count().div_ceil(2)).then_some(closest.1)
}

/// Edits (insert, delete, replace) from one text to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (position, c) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = position + 1;
        for (column, o) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *o);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_something_else_finds_none() {
        let known = ["include", "exclude"];
        assert_eq!(nearest("inclde", &known), Some("include"));
        assert_eq!(nearest("Exclud", &known), Some("exclude"));
        assert_eq!(nearest("zzzzzzzzzz", &known), None);
        assert_eq!(nearest("", &[]), None);
    }
}
