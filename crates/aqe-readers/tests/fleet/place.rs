//! One environment: an agent's database, the notes beside it, and what really happened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aqe_readers::{
    EmbeddedHub, FileNotes, LedgerFile, Pull, PullState, SourceFile, SqliteSource, own_sources, pull, restored,
    state_file,
};
use aqe_sync_core::fleet::{Absorbed, AbsorbedStore as _, Trust};
use aqe_sync_core::{
    BatchLimits, DynSource, Engine, Environment, Key, Mode, Options, Result, Silent, Sink as _, tables,
};
use rusqlite::{Connection, params};
use tempfile::TempDir;

/// What really happened to a key, since this environment last made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) uses: i64,
    pub(crate) successes: i64,
}

/// What a simulation keeps of an environment beside its files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Of keys that it has, or used: what it did.
    pub(crate) lives: BTreeMap<String, Life>,
    /// Keys that it had when a sync saw them, deleted, and did not make again.
    pub(crate) deleted: BTreeSet<String>,
}

pub(crate) struct Place {
    folder: TempDir,
    pub(crate) environment: Environment,
    pub(crate) truth: Truth,
    backup: Option<(Vec<u8>, Truth)>,
}

/// A pattern as the file shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) confidence: f64,
    pub(crate) uses: i64,
    pub(crate) successes: i64,
    pub(crate) rate: f64,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = name.into();
        let place = Self { folder, environment, truth: Truth::default(), backup: None };
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures/agentic-qe-3.3.0/v3/.agentic-qe/memory.db");
        fs::create_dir_all(place.path().parent().expect("in a folder")).expect("created");
        fs::create_dir_all(place.state()).expect("created");
        fs::write(place.path(), fs::read(fixture).expect("a fixture")).expect("written");
        let connection = place.open();
        let tables: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            .and_then(|mut tables| tables.query_map([], |row| row.get(0))?.collect())
            .expect("listed");
        for table in tables {
            connection.execute_batch(&format!("DELETE FROM \"{table}\"")).expect("emptied");
        }
        connection.execute_batch("VACUUM").expect("made small");
        drop(connection);
        place
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("project/.agentic-qe/memory.db")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn file(&self) -> SourceFile {
        SourceFile::new(&self.folder.path().join("project"), self.path())
    }

    pub(crate) fn open(&self) -> Connection {
        Connection::open(self.path()).expect("opened")
    }

    pub(crate) fn shown(&self, id: &str) -> Option<Shown> {
        let sql = "SELECT name, confidence, usage_count, successful_uses, success_rate FROM qe_patterns WHERE id = ?1";
        let found = self.open().query_row(sql, [id], |row| {
            let (name, confidence) = (row.get(0)?, row.get(1)?);
            Ok(Shown { name, confidence, uses: row.get(2)?, successes: row.get(3)?, rate: row.get(4)? })
        });
        match found {
            Ok(shown) => Some(shown),
            Err(rusqlite::Error::QueryReturnedNoRows) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Makes a pattern unless it is there; `moment` tells this making from any other.
    pub(crate) fn insert(&mut self, id: &str, confidence: f64, moment: u64) {
        let made = self.open().execute(
            "INSERT INTO qe_patterns (id, pattern_type, qe_domain, domain, name, confidence, created_at, updated_at) \
             VALUES (?1, 'test-template', 'd', 'd', ?2, ?3, datetime(1800000000 + ?4, 'unixepoch'), \
             datetime(1800000000 + ?4, 'unixepoch')) ON CONFLICT DO NOTHING",
            params![id, format!("{id} of {}", self.environment), confidence, moment],
        );
        if made.expect("inserted") == 1 {
            self.truth.lives.entry(id.to_owned()).or_default();
            self.truth.deleted.remove(id);
        }
    }

    pub(crate) fn use_it(&mut self, id: &str, success: bool, moment: u64) {
        let used = self.open().execute(
            "UPDATE qe_patterns SET usage_count = usage_count + 1, successful_uses = successful_uses + ?2, \
             success_rate = CAST(successful_uses + ?2 AS REAL) / (usage_count + 1), \
             updated_at = datetime(1800000000 + ?3, 'unixepoch') WHERE id = ?1",
            params![id, i64::from(success), moment],
        );
        if used.expect("updated") == 1 {
            let life = self.truth.lives.entry(id.to_owned()).or_default();
            life.uses += 1;
            life.successes += i64::from(success);
        }
    }

    pub(crate) fn edit(&mut self, id: &str, confidence: f64, moment: u64) {
        let edited = self.open().execute(
            "UPDATE qe_patterns SET name = ?2, confidence = ?3, updated_at = datetime(1800000000 + ?4, 'unixepoch') \
             WHERE id = ?1",
            params![id, format!("{id} as {} sees it at {moment}", self.environment), confidence, moment],
        );
        if edited.expect("updated") == 1 {
            self.truth.lives.entry(id.to_owned()).or_default();
        }
    }

    /// `sent` says whether the hub ever had its own record.
    pub(crate) fn delete(&mut self, id: &str, sent: bool) {
        // With the notes lost it takes the hub's copy to say.
        let Ok(entry) = self.entry(id) else { return };
        if entry.as_ref().is_some_and(|entry| entry.shown == aqe_sync_core::fleet::Shown::Withheld) {
            // Made again and gone before a sync: nobody can know.
            return;
        }
        if self.open().execute("DELETE FROM qe_patterns WHERE id = ?1", [id]).expect("deleted") == 1 {
            self.truth.lives.remove(id);
            // What no sync ever saw nobody can tell from what was never there.
            if sent || entry.is_some() {
                self.truth.deleted.insert(id.to_owned());
            }
        }
    }

    fn entry(&self, id: &str) -> Result<Option<Absorbed>> {
        let table = tables::find("qe_patterns").expect("a table");
        let notes = FileNotes::of(PullState::open(&state_file(&self.state()))?, &self.file())?;
        notes.find(table, Key::new(vec![id.into()]).hash())
    }

    /// Sends, takes, or both; `patience` is how often it may go on before it is dropped
    /// where it stands. Says whether it came to its end.
    pub(crate) fn sync(&mut self, hub: &Arc<EmbeddedHub>, push: bool, take: bool, full: bool, patience: usize) -> bool {
        let mut run = pin!(self.run(hub, push, take, full));
        let mut left = patience;
        let outcome = loop {
            let (waker, woken) = waiting();
            match run.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(outcome) => break Some(outcome),
                Poll::Pending if left == 0 => break None,
                Poll::Pending => {
                    left -= 1;
                    woken.recv().expect("somebody wakes it");
                }
            }
        };
        let ended = outcome.is_some();
        if let Some(outcome) = outcome {
            outcome.unwrap_or_else(|error| panic!("{}: {error}", self.environment));
        }
        ended
    }

    async fn run(&self, hub: &Arc<EmbeddedHub>, push: bool, take: bool, full: bool) -> Result<()> {
        let state = PullState::open(&state_file(&self.state()))?;
        let wanted = Pull {
            environment: self.environment.clone(),
            instance: format!("0 {}", self.environment).as_str().into(),
            backups: self.state().join("backups"),
            tables: Some(["qe_patterns".to_owned()].into()),
            trust: Trust::default(),
            full,
            after: None,
            limits: BatchLimits { rows: 3, bytes: 1 << 20 },
            redact: None,
        };
        let mut files = restored(&state, &[self.file()])?;
        if !files.is_empty() {
            let report = pull(hub, &state, &files, &wanted, &Silent).await?;
            assert_eq!(report.error, None);
        }
        if push {
            let source: Box<dyn DynSource> = Box::new(SqliteSource::new(self.file()));
            let own = own_sources(hub.as_ref(), &state, &self.environment, vec![(self.file(), source)]).await?;
            let ledger = LedgerFile::open(&self.state().join("ledger.db"), &hub.identity().await?)?;
            let mut options = Options::new(self.environment.clone());
            options.instance = wanted.instance.clone();
            options.limits = wanted.limits;
            options.mode = if full { Mode::Full } else { Mode::Incremental };
            let report = Box::pin(Engine::new(hub.as_ref(), &ledger, &Silent, options).run(&own)).await?;
            assert_eq!(report.errors(), None);
        }
        if take {
            files = vec![self.file()];
            let report = pull(hub, &state, &files, &wanted, &Silent).await?;
            assert_eq!(report.errors(), None);
        }
        Ok(())
    }

    pub(crate) fn lose_ledger(&self) {
        remove(&self.state(), "ledger.db");
    }

    pub(crate) fn lose_state(&self) {
        self.lose_ledger();
        remove(&self.state(), "pull.db");
    }

    pub(crate) fn back_up(&mut self) {
        self.open().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("in one file");
        self.backup = Some((fs::read(self.path()).expect("read"), self.truth.clone()));
    }

    /// Puts the last backup back, after all was sent: what was sent still happened, and what
    /// was deleted since the backup is there again.
    pub(crate) fn roll_back(&mut self, hub: &Arc<EmbeddedHub>) -> bool {
        let Some((backup, before)) = self.backup.clone() else { return false };
        assert!(self.sync(hub, true, true, false, usize::MAX));
        // A file that no pull wrote to since is taken as it is: nothing says that it is older.
        let number = |bytes: &[u8]| bytes[68..72].to_vec();
        self.open().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("in one file");
        if number(&backup) == number(&fs::read(self.path()).expect("read")) {
            return false;
        }
        // What was deleted since would be there again, and nobody could say what it had counted.
        if before.lives.keys().any(|id| !self.truth.lives.contains_key(id)) {
            return false;
        }
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", self.path().display()));
        }
        fs::write(self.path(), backup).expect("restored");
        assert!(self.sync(hub, true, true, false, usize::MAX));
        for (id, life) in before.lives {
            let now = self.truth.lives.entry(id).or_default();
            *now = Life { uses: now.uses.max(life.uses), successes: now.successes.max(life.successes) };
        }
        let gone: BTreeSet<String> = self.truth.deleted.iter().filter(|id| self.shown(id).is_none()).cloned().collect();
        self.truth.lives.retain(|id, _| !gone.contains(id));
        self.truth.deleted = gone;
        true
    }

    pub(crate) fn is_sound(&self) {
        let connection = self.open();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
        assert_eq!(check, "ok");
        let broken = connection.prepare("PRAGMA foreign_key_check").and_then(|mut all| all.exists([]));
        assert!(!broken.expect("checked"), "{}", self.environment);
    }
}

fn remove(folder: &Path, name: &str) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(folder.join(format!("{name}{suffix}")));
    }
}

/// A waker, and where it is heard.
fn waiting() -> (Waker, std::sync::mpsc::Receiver<()>) {
    struct Bell(std::sync::Mutex<std::sync::mpsc::Sender<()>>);
    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            // Whoever waited may have gone.
            let _ = self.0.lock().expect("sound").send(());
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    (Waker::from(Arc::new(Bell(std::sync::Mutex::new(sender)))), receiver)
}
