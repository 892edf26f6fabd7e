//! The environment variables that steer the tests, read in one place.

use std::path::PathBuf;

/// `postgres://` URL of a running server to use instead of a throwaway one; its user must be
/// allowed to create databases.
pub const SERVER_URL: &str = "AQE_TEST_PG_URL";
/// Folder with the PostgreSQL binaries to use.
pub const BINARIES: &str = "AQE_TEST_PG_BIN";
/// Folder with the binaries of a PostgreSQL that has pgvector.
pub const PGVECTOR_BINARIES: &str = "AQE_TEST_PGVECTOR_BIN";
/// Folder with the binaries of a PostgreSQL that has an old pgvector (0.6).
pub const OLD_PGVECTOR_BINARIES: &str = "AQE_TEST_OLD_PGVECTOR_BIN";
/// Folder with the embedding model.
pub const MODEL: &str = "AQE_TEST_MODEL";
/// A Chromium, for the page that `report` makes.
pub const BROWSER: &str = "AQE_TEST_BROWSER";
/// The file `axe.min.js`, which checks how accessible a page is.
pub const AXE: &str = "AQE_TEST_AXE";
/// When set, a test whose vector extension is missing fails instead of being skipped.
pub const REQUIRE_ALL: &str = "AQE_TEST_REQUIRE_ALL";

/// Reads one of them; an empty value counts as not set.
#[expect(clippy::disallowed_methods, reason = "tests are told where their servers are by the environment alone")]
pub fn read(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads one that names a folder.
pub fn folder(name: &str) -> Option<PathBuf> {
    read(name).map(PathBuf::from)
}
