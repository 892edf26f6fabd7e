//! The agent writes while pulls run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::world::{AgentFile, Fleet, V2, V3, add_pattern, use_pattern, uses};

#[test]
fn an_agent_that_counts_all_the_time_loses_nothing() {
    let (fleet, a, b) = (Fleet::new(), AgentFile::emptied("a", V3), AgentFile::emptied("b", V3));
    add_pattern(&a, "p", 0.9, 1, 1);
    a.push(&fleet);
    b.pull(&fleet);
    let stop = Arc::new(AtomicBool::new(false));
    let (connection, told) = (b.open(), Arc::clone(&stop));
    let agent = std::thread::spawn(move || {
        let mut counted = 0;
        // At least as many as make the test worth something.
        while counted < 20 || !told.load(Ordering::Relaxed) {
            use_pattern(&connection, "p", counted % 3 > 0);
            counted += 1;
        }
        counted
    });
    for _ in 0..15 {
        use_pattern(&a.open(), "p", true);
        a.push(&fleet);
        b.pull(&fleet);
        b.push(&fleet);
    }
    stop.store(true, Ordering::Relaxed);
    let counted = agent.join().expect("done");
    b.push(&fleet);
    a.pull(&fleet);
    b.pull(&fleet);
    let expected = 1 + 15 + counted;
    assert_eq!((uses(&a, "p").map(|uses| uses.0), uses(&b, "p").map(|uses| uses.0)), (Some(expected), Some(expected)));
}

/// Peak memory in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
#[ignore = "prints what it takes; run it alone and in release mode"]
fn a_hundred_thousand_rows() {
    let (fleet, a, b) = (Fleet::new(), AgentFile::emptied("a", V2), AgentFile::emptied("b", V2));
    a.edit(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) \
         INSERT INTO memory_entries (key, partition, value, created_at) \
         SELECT 'key-' || i, 'p', json_object('number', i, 'text', hex(randomblob(100))), 1768136468000 + i FROM n",
    );
    a.push(&fleet);
    let before = peak();
    let started = std::time::Instant::now();
    let report = b.pull(&fleet);
    println!("{} rows in {:?}, peak {} KiB, before {before} KiB", report.totals.inserted, started.elapsed(), peak());
}
