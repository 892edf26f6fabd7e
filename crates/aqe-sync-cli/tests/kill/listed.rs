//! All failpoints there are: as the crates list them, and as their sources have them.

use std::collections::BTreeSet;
use std::path::Path;

/// Those of all crates.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    let core = aqe_sync_core::failpoint::FAILPOINTS.iter();
    core.chain(&aqe_readers::failpoint::FAILPOINTS).chain(&aqe_cloud::postgres::failpoint::FAILPOINTS).copied()
}

fn in_sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            in_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let names = line.split("failpoint!(\"").skip(1);
                found.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }
}

#[test]
fn every_failpoint_is_listed_and_stands_in_one_place() {
    let mut found = Vec::new();
    for name in ["aqe-sync-core", "aqe-readers", "aqe-cloud", "aqe-sync-cli"] {
        in_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src"), &mut found);
    }
    let listed: BTreeSet<String> = all().map(str::to_owned).collect();
    assert_eq!(listed.len(), all().count(), "listed once");
    assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), listed);
    assert_eq!(found.len(), listed.len(), "a name stands for one place: {found:?}");
}
