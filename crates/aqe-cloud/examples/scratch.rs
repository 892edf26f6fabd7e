use aqe_cloud::postgres::{PostgresHub, link::AddressParts};
use aqe_readers::discover;
use aqe_sync_core::{Engine, MemoryLedger, Mode, Options, Silent};
use futures::executor::block_on;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let t = Instant::now();
    let hub = PostgresHub::builder(AddressParts::parse(&args[1]).unwrap().build().unwrap()).open().unwrap();
    println!("open {:?}", t.elapsed());
    let ledger = MemoryLedger::new();
    for mode in [Mode::Incremental, Mode::Incremental, Mode::Full] {
        let sources: Vec<_> = discover(args[2].as_ref()).unwrap().found.into_iter().map(|f| f.source).collect();
        let t = Instant::now();
        let report =
            block_on(Engine::new(&hub, &ledger, &Silent, Options::new("a".into()).mode(mode)).run(&sources)).unwrap();
        println!("{:?} {:?} {:?} {:?} {:?}", mode, t.elapsed(), report.status, report.totals, report.error);
        for s in &report.streams {
            if let Some(e) = &s.error {
                println!("{} {} {e}", s.source.as_str(), s.stream.as_str());
            }
        }
    }
    let sources: Vec<_> = discover(args[2].as_ref()).unwrap().found.into_iter().map(|f| f.source).collect();
    let v = block_on(aqe_sync_core::verify::verify(&hub, &sources, &Options::new("a".into()))).unwrap();
    println!("{:?}", v.status);
    for s in v.streams.iter().filter(|s| !s.matches()) {
        println!("{s:?}");
    }
}
