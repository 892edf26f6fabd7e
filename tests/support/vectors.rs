//! Servers with vector extensions; `.ci/vectors.sh` installs them.

use std::sync::OnceLock;

use crate::environment;
use crate::postgres::{Binaries, Cluster};

/// An extension to look for, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// ruvector, in the PostgreSQL that all tests use.
    Ruvector,
    /// pgvector as of today (0.8), in a PostgreSQL of its own.
    Pgvector,
    /// An old pgvector (0.6): no iterative scans, no `halfvec`.
    OldPgvector,
}

impl Extension {
    /// Returns what `CREATE EXTENSION` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ruvector => "ruvector",
            Self::Pgvector | Self::OldPgvector => "vector",
        }
    }

    /// Returns a PostgreSQL that has it. Without one: prints one line and returns nothing, or
    /// panics where `AQE_TEST_REQUIRE_ALL` is set, so that nothing passes by skipping in CI.
    pub fn binaries(self) -> Option<Binaries> {
        let found = match self {
            Self::Ruvector => Some(Binaries::find()),
            Self::Pgvector => environment::folder(environment::PGVECTOR_BINARIES).map(Binaries::in_folder),
            Self::OldPgvector => environment::folder(environment::OLD_PGVECTOR_BINARIES).map(Binaries::in_folder),
        };
        let found = found.filter(|binaries| binaries.has_extension(self.name()));
        if found.is_none() {
            let line = format!("{self:?} is not installed: `eval \"$(bash .ci/vectors.sh)\"` does it");
            assert!(environment::read(environment::REQUIRE_ALL).is_none(), "{line}");
            eprintln!("skipped: {line}");
        }
        found
    }

    /// Returns the cluster that the tests of this process share for this extension; see
    /// [`Extension::binaries`] for when there is none.
    pub fn cluster(self) -> Option<&'static Cluster> {
        static RUVECTOR: OnceLock<Option<Cluster>> = OnceLock::new();
        static PGVECTOR: OnceLock<Option<Cluster>> = OnceLock::new();
        static OLD_PGVECTOR: OnceLock<Option<Cluster>> = OnceLock::new();
        let place = match self {
            Self::Ruvector => &RUVECTOR,
            Self::Pgvector => &PGVECTOR,
            Self::OldPgvector => &OLD_PGVECTOR,
        };
        place.get_or_init(|| Some(Cluster::builder().binaries(self.binaries()?).start())).as_ref()
    }
}

/// Returns the shared cluster with ruvector.
pub fn ruvector() -> Option<&'static Cluster> {
    Extension::Ruvector.cluster()
}

/// Returns the shared cluster with today's pgvector.
pub fn pgvector() -> Option<&'static Cluster> {
    Extension::Pgvector.cluster()
}

/// Returns the shared cluster with an old pgvector.
pub fn old_pgvector() -> Option<&'static Cluster> {
    Extension::OldPgvector.cluster()
}
