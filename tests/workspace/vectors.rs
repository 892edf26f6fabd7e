//! The servers with vector extensions have them, and are the versions meant.

use aqe_sync_workspace::vectors::{self, Extension};

fn version_and_distance(extension: Extension) -> Option<(String, String)> {
    let database = extension.cluster()?.database();
    database.psql(&format!("CREATE EXTENSION {}", extension.name()));
    let version = database.psql(&format!("SELECT extversion FROM pg_extension WHERE extname = '{}'", extension.name()));
    let kind = extension.name();
    Some((version, database.psql(&format!("SELECT '[0,3]'::{kind}(2) <-> '[4,0]'::{kind}(2)"))))
}

#[test]
fn ruvector_measures_distances() {
    let Some((version, distance)) = version_and_distance(Extension::Ruvector) else { return };
    assert_eq!((version.as_str(), distance.as_str()), ("0.3.0", "5"));
}

#[test]
fn pgvector_of_today_and_of_old_measure_distances() {
    for (extension, expected) in [(Extension::Pgvector, "0.8."), (Extension::OldPgvector, "0.6.")] {
        let Some((version, distance)) = version_and_distance(extension) else { return };
        assert!(version.starts_with(expected), "{version}");
        assert_eq!(distance, "5");
    }
}

#[test]
fn the_servers_with_and_without_an_extension_are_told_apart() {
    let Some(cluster) = vectors::pgvector() else { return };
    assert!(cluster.binaries().has_extension("vector"));
    assert!(!cluster.binaries().has_extension("ruvector"));
}
