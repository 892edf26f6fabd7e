//! Where this machine's PostgreSQL is, and as whom its server can run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment;

const MISSING: &str = "no PostgreSQL found for the tests: install it (Debian, Ubuntu: `apt-get install postgresql`; \
                       the server need not run), or set AQE_TEST_PG_BIN to the folder that holds `initdb` and \
                       `postgres`, or AQE_TEST_PG_URL to a server on which databases may be created";

/// A PostgreSQL installation's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Finds them: `AQE_TEST_PG_BIN`, else Debian's newest version, else where `pg_config` points.
    pub fn find() -> Self {
        let found = environment::folder(environment::BINARIES).or_else(newest_debian).or_else(from_pg_config);
        Self::in_folder(found.unwrap_or_else(|| panic!("{MISSING}")))
    }

    /// Does as [`Binaries::find`], without a complaint where there is none.
    pub(super) fn find_quietly() -> Option<Self> {
        let found = environment::folder(environment::BINARIES).or_else(newest_debian).or_else(from_pg_config);
        found.map(|folder| Self { folder })
    }

    /// Takes those in the given folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        for program in ["initdb", "postgres"] {
            assert!(folder.join(program).is_file(), "{} holds no `{program}`; {MISSING}", folder.display());
        }
        Self { folder }
    }

    /// Returns the path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns what `postgres --version` says, such as `postgres (PostgreSQL) 15.18`.
    pub fn version(&self) -> String {
        text_of(Command::new(self.program("postgres")).arg("--version"))
    }

    /// Returns the major version, such as 15.
    pub fn major_version(&self) -> u32 {
        let version = self.version();
        let number = version.split(' ').find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        number
            .and_then(|number| number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
            .unwrap_or_else(|| panic!("cannot read PostgreSQL's version from `{version}`"))
    }

    /// Says whether `CREATE EXTENSION name` would find its control file.
    pub fn has_extension(&self, name: &str) -> bool {
        let shared = text_of(Command::new(self.program("pg_config")).arg("--sharedir"));
        Path::new(&shared).join("extension").join(format!("{name}.control")).is_file()
    }
}

fn newest_debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let numbered = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    numbered
        .map(|(version, path)| (version, path.join("bin")))
        .filter(|(_, bin)| bin.join("postgres").is_file() && bin.join("initdb").is_file())
        .max()
        .map(|(_, bin)| bin)
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    folder.join("postgres").is_file().then_some(folder)
}

/// Who runs the server: PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunAs {
    /// Us, who are not root.
    Ourselves,
    /// Somebody without privileges, because we are root.
    Other { uid: u32, gid: u32 },
}

impl RunAs {
    pub(super) fn find() -> Self {
        if user_id() != 0 {
            return Self::Ourselves;
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let account = |name: &str| {
            let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some(Self::Other { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        };
        account("postgres").or_else(|| account("nobody")).unwrap_or_else(|| {
            panic!("the tests run as root, PostgreSQL refuses that, and there is no user `postgres` or `nobody`")
        })
    }

    /// Makes the command run as that user.
    pub(super) fn apply<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        match self {
            Self::Ourselves => command,
            Self::Other { uid, gid } => command.uid(*uid).gid(*gid),
        }
    }

    /// Makes that user the owner of a path.
    pub(super) fn give(&self, path: &Path) {
        if let Self::Other { uid, gid } = self {
            std::os::unix::fs::chown(path, Some(*uid), Some(*gid))
                .unwrap_or_else(|e| panic!("cannot give {} to user {uid}: {e}", path.display()));
        }
    }

    /// Returns the user's number.
    pub(super) fn uid(&self) -> u32 {
        match self {
            Self::Ourselves => user_id(),
            Self::Other { uid, .. } => *uid,
        }
    }
}

/// The user whom this process runs as: the owner of its own entry in /proc, or of a file it makes.
fn user_id() -> u32 {
    let ours = fs::metadata("/proc/self").map(|meta| meta.uid());
    ours.or_else(|_| tempfile::tempfile()?.metadata().map(|meta| meta.uid())).expect("a temporary file can be made")
}

/// Runs a command to its end; panics with what it said if it failed.
pub(super) fn text_of(command: &mut Command) -> String {
    let output = command.output();
    let program = command.get_program().display();
    let output = output.unwrap_or_else(|e| panic!("cannot start {program}: {e}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed: {}", complaint.trim());
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
