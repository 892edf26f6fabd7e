//! A whole custom source: a text file with one `key: text` note per line.
use std::{fs, path::PathBuf, sync::Arc};

use aqe_sync_core::{BatchStream, ColumnType, Error, ErrorKind, ReadRequest, Record, Result, Schema, Source};
use aqe_sync_core::{SourceName, StreamSpec, TableSpec, Value, batches};

pub struct Notes(pub SourceName, pub PathBuf);

impl Source for Notes {
    fn name(&self) -> &SourceName {
        &self.0
    }
    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        let table =
            TableSpec::builder("notes").key("key", ColumnType::Text).column("body", ColumnType::Text).build()?;
        Ok(vec![StreamSpec::new("notes", table)])
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        let (path, schema) = (self.1.clone(), Schema::new(["key", "body"]));
        batches(request, move |_| {
            let text = fs::read_to_string(&path).map_err(|cause| Error::new(ErrorKind::Io, cause.to_string()))?;
            let notes = text.lines().filter_map(|line| line.split_once(": "));
            let record = |(key, body)| Record::new(Arc::clone(&schema), vec![Value::from(key), Value::from(body)]);
            Ok(notes.map(record).collect())
        })
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    use aqe_sync_core::{DynSource, Engine, MemoryLedger, Options, Silent};
    let (folder, options) = (tempfile::tempdir()?, Options::new("laptop".into()));
    let file = folder.path().join("notes.txt");
    fs::write(&file, "retry: flaky tests pass at the second attempt\nbudget: keep CI under ten minutes\n")?;
    let (hub, ledger) = (aqe_readers::EmbeddedHub::open(&folder.path().join("hub.db"))?, MemoryLedger::new());
    let sources = [Box::new(Notes("notes.txt".into(), file)) as Box<dyn DynSource>];
    let run = futures::executor::block_on(Engine::new(&hub, &ledger, &Silent, options).run(&sources))?;
    println!("{} notes in the hub", run.totals.inserted);
    Ok(())
}
