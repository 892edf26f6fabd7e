use aqe_readers::*; use aqe_sync_core::*; use std::path::Path;
fn main() {
    let root = std::env::args().nth(1).unwrap(); let root = Path::new(&root);
    let d = discover(root).unwrap();
    for s in &d.skipped { println!("skip {} {}", s.name, s.reason); }
    let hub = EmbeddedHub::open(&root.join(".aqe-sync/hub.db")).unwrap();
    let id = futures::executor::block_on(hub.identity()).unwrap();
    let ledger = LedgerFile::open(&root.join(".aqe-sync/ledger.db"), &id).unwrap();
    let sources: Vec<_> = d.found.into_iter().map(|f| f.source).collect();
    let mut o = Options::new("me".into());
    if std::env::args().nth(2).as_deref() == Some("full") { o.mode = Mode::Full; }
    let t = std::time::Instant::now();
    let r = futures::executor::block_on(Engine::new(&hub, &ledger, &Silent, o).run(&sources)).unwrap();
    for s in &r.streams { if s.counters.read>0 || s.error.is_some() || s.skipped_unchanged { let c=s.counters; println!("{:40} {:24} {:22} read {} ins {} upd {} same {} merged {} sup {} dead {} conf {} aside {} skip {} {}ms {:?} {:?}", s.source.as_str(), s.stream.as_str(), s.table, c.read,c.inserted,c.updated,c.unchanged,c.merged,c.superseded,c.dead_lettered,c.conflicts,c.set_aside,s.skipped_unchanged,s.duration_ms,s.error,s.warnings.first()); } }
    println!("{:?} {:?} {:?} {:?}", r.status, r.totals, r.notes, r.error); println!("{:?}", t.elapsed());
}
