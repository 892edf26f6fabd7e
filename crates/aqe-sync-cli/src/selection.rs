//! Which of the discovered sources take part: names, folders, tools, patterns.

use crate::config::secret::mask;
use crate::exit::Failure;

/// What a source can be chosen by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// Its path relative to the root.
    pub(crate) name: &'a str,
    /// The tool that writes it.
    pub(crate) tool: &'a str,
}

/// Whether one item of a list means this source.
pub(crate) fn means(item: &str, source: Candidate<'_>) -> bool {
    let item = item.trim();
    let path = item.strip_prefix("./").unwrap_or(item).trim_end_matches('/');
    let folder = source.name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    item == source.tool
        || path == source.name
        || folder && !path.is_empty()
        || item.contains('*') && fits(path.as_bytes(), source.name.as_bytes())
}

/// Whether a pattern, in which `*` stands for any text, fits a whole name.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and how much of the name it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((position, taken)) = star {
            star = Some((position, taken + 1));
            p = position + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Checks that every item means something.
///
/// # Errors
/// A usage error that lists what there is.
pub(crate) fn check(items: &[String], sources: &[Candidate<'_>]) -> Result<(), Failure> {
    match unmatched(items, sources).first() {
        None => Ok(()),
        Some(item) => Err(Failure::usage(nothing_means(item, sources))),
    }
}

/// The items that mean nothing.
pub(crate) fn unmatched<'a>(items: &'a [String], sources: &[Candidate<'_>]) -> Vec<&'a str> {
    let idle = items.iter().filter(|item| !sources.iter().any(|source| means(item, *source)));
    idle.map(String::as_str).collect()
}

fn nothing_means(item: &str, sources: &[Candidate<'_>]) -> String {
    let mut message = format!("no source is named {:?}; ", mask(item));
    if sources.is_empty() {
        message.push_str("none was found at all: check --root");
        return message;
    }
    let names: Vec<String> = sources.iter().map(|source| format!("\n  {} ({})", source.name, source.tool)).collect();
    message + "found were:" + &names.concat()
}

/// Whether a source takes part. No inclusion means all.
pub(crate) fn takes_part(include: &[String], exclude: &[String], source: Candidate<'_>) -> bool {
    let included = include.is_empty() || include.iter().any(|item| means(item, source));
    included && !exclude.iter().any(|item| means(item, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Candidate<'_> = Candidate { name: "v3/.agentic-qe/memory.db", tool: "agentic-qe" };
    const STORE: Candidate<'_> = Candidate { name: ".claude-flow/memory/store.json", tool: "claude-flow" };

    #[test]
    fn a_source_is_meant_by_its_name_folder_tool_or_pattern() {
        for item in [
            "v3/.agentic-qe/memory.db",
            "./v3/.agentic-qe/memory.db",
            "v3",
            "v3/",
            "v3/.agentic-qe",
            "agentic-qe",
            "*.db",
            "v3/*",
            "*agentic*",
            "*",
            " v3 ",
            "v*/**/memory.d*b",
        ] {
            assert!(means(item, MEMORY), "{item}");
        }
    }

    #[test]
    fn parts_of_names_do_not_match() {
        for item in ["v", "v3/.agentic", "memory.db", "*.json", "agentic", "", "./", "/", "v3/*.d"] {
            assert!(!means(item, MEMORY), "{item}");
        }
    }

    #[test]
    fn an_item_that_means_nothing_is_refused_with_what_there_is() {
        let failure = check(&["v3".into(), "v4".into()], &[MEMORY, STORE]).expect_err("v4");
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
        assert!(failure.message.contains("\"v4\"") && failure.message.contains(STORE.name), "{}", failure.message);
        assert!(check(&["*".into()], &[]).expect_err("nothing").message.contains("--root"));
    }

    #[test]
    fn exclusion_goes_before_inclusion_and_no_inclusion_means_all() {
        let list = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(takes_part(&[], &[], STORE));
        assert!(takes_part(&list(&["claude-flow"]), &[], STORE));
        assert!(!takes_part(&list(&["v3"]), &[], STORE));
        assert!(!takes_part(&list(&["claude-flow"]), &list(&["*.json"]), STORE));
    }
}
