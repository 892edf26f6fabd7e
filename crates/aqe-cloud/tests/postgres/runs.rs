//! What runs of the engine leave in the hub beside rows: letters, and who wrote.

use aqe_readers::LedgerFile;
use aqe_sync_core::{DynSource, Engine, Options, Report, Silent, Sink as _, Status};
use aqe_sync_workspace::postgres::Cluster;
use futures::executor::block_on;
use tempfile::TempDir;

use crate::faults_world::{noise, records, source};
use crate::sink_world::hub;

/// One installation of the environment.
struct Installation {
    name: &'static str,
    url: String,
    folder: TempDir,
}

impl Installation {
    fn new(name: &'static str, url: String) -> Self {
        Self { name, url, folder: tempfile::tempdir().unwrap() }
    }

    fn run(&self, rows: &[(&str, &str)]) -> Report {
        let hub = hub(&self.url);
        let ledger =
            LedgerFile::open(&self.folder.path().join("ledger.db"), &block_on(hub.identity()).unwrap()).unwrap();
        let mut options = Options::new("env".into());
        options.instance = self.name.into();
        let rows = rows.iter().map(|(id, body)| ((*id).to_owned(), (*body).to_owned()));
        let sources: Vec<Box<dyn DynSource>> = vec![source("a.db", vec![("notes", records(rows, 1_700_000_000))])];
        block_on(Engine::new(&hub, &ledger, &Silent, options).run(&sources)).unwrap()
    }
}

#[test]
fn a_letter_is_settled_when_its_record_is_corrected_and_open_again_when_it_comes_back() {
    let database = Cluster::shared().database();
    let here = Installation::new("here", database.url());
    let too_long = noise(1, 9_000);
    let letters = || database.psql("SELECT count(*), count(settled_at) FROM aqe.dead_letters");
    for _ in 0..2 {
        let report = here.run(&[("1", "one"), (&too_long, "two")]);
        assert_eq!((report.status, report.totals.dead_lettered), (Status::Partial, 1));
        assert_eq!(letters(), "1|0", "met again, kept once");
    }
    let report = here.run(&[("1", "one"), ("2", "two")]);
    assert_eq!((report.status, report.totals.inserted), (Status::Ok, 1));
    assert_eq!(letters(), "1|1");
    here.run(&[("1", "one"), ("2", "two"), (&too_long, "two")]);
    assert_eq!(letters(), "1|0");
}

#[test]
fn two_installations_of_one_environment_are_told_of_each_other() {
    let database = Cluster::shared().database();
    let (here, there) = (Installation::new("1 laptop", database.url()), Installation::new("2 devpod", database.url()));
    here.run(&[("1", "here"), ("2", "here")]);
    let report = there.run(&[("3", "there")]);
    assert!(report.notes.iter().any(|note| note.contains("1 laptop")), "taken over: {:?}", report.notes);
    let report = here.run(&[("1", "here")]);
    assert_eq!((report.status, report.totals.deleted), (Status::Partial, 0));
    let warnings = &report.streams[0].warnings;
    for part in ["1 laptop", "2 devpod", "AQE_ENV"] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    }
    assert_eq!(database.psql("SELECT count(*) FROM aqe.notes WHERE deleted_at IS NULL"), "3");
}
