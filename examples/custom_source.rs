//! A whole custom source: a text file with one `key: text` note per line.
use std::{fs, path::PathBuf, sync::Arc};

use aqe_readers::EmbeddedHub;
use aqe_sync_core::{BatchStream, ColumnType, DynSource, Engine, MemoryLedger, Options, ReadRequest, Record, Role};
use aqe_sync_core::{Result, Schema, Silent, Source, SourceName, StreamSpec, TableSpec, Value, batches};

struct Notes(SourceName, PathBuf);

impl Source for Notes {
    fn name(&self) -> &SourceName {
        &self.0
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        let table = TableSpec::builder("notes").key("key", ColumnType::Text);
        let table = table.column("body", ColumnType::Text).role(Role::SearchText).build()?;
        Ok(vec![StreamSpec::new("notes", table)])
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        let text = fs::read_to_string(&self.1).unwrap_or_default();
        let schema = Schema::new(["key", "body"]);
        batches(request, move |_| {
            let notes = text.lines().filter_map(|line| line.split_once(": "));
            notes.map(|(key, body)| Record::new(Arc::clone(&schema), vec![Value::from(key), body.into()])).collect()
        })
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("notes.txt");
    fs::write(&file, "retry: flaky tests pass at the second attempt\nbudget: keep CI under ten minutes\n")?;
    let hub = EmbeddedHub::open(&folder.path().join("hub.db"))?;
    let (ledger, options) = (MemoryLedger::new(), Options::new("laptop".into()));
    let sources: Vec<Box<dyn DynSource>> = vec![Box::new(Notes("notes.txt".into(), file))];
    let report = futures::executor::block_on(Engine::new(&hub, &ledger, &Silent, options).run(&sources))?;
    println!("{} notes are in the hub", report.totals.inserted);
    Ok(())
}
