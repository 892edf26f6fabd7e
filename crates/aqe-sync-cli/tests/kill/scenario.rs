//! Three syncs of one project, which between them reach every failpoint.

use std::fmt::Write as _;

use crate::hub::Hub;
use crate::project::Project;

pub(crate) const SWARM: &str = ".swarm/memory.db";
pub(crate) const AGENTIC: &str = ".agentic-qe/memory.db";

/// More than goes as parameters of one statement, in batches of 200 rows.
const LARGE: usize = 410;

pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// What happens before the sync.
    pub(crate) prepare: fn(&Project, &Hub),
    /// What is slow, as `FAILPOINTS` says it: so that what may happen at once does.
    pub(crate) slow: &'static str,
    /// Whether the hub holds all that the sources hold afterwards, whichever kind it is.
    pub(crate) matches: bool,
}

pub(crate) const STEPS: [Step; 3] = [
    Step { name: "first", prepare: first, slow: "postgres-copy-fed=1*sleep(150)->off", matches: false },
    Step { name: "changes and conflicts", prepare: second, slow: "", matches: true },
    Step { name: "lost ledger, mass delete", prepare: third, slow: "", matches: false },
];

/// What is new: large, small, held by both sources, and what no hub can store.
fn first(project: &Project, hub: &Hub) {
    // The embedded hub makes no difference between large and small.
    let length = if matches!(hub, Hub::Postgres { .. }) { 8_500 } else { 100 };
    std::fs::write(
        project.root().join("aqe-sync.toml"),
        "env = \"laptop\"\n[batch]\nrows = 200\n[postgres]\nfar = false\n",
    )
    .expect("written");
    let mut rows = String::from("BEGIN;");
    for number in 0..LARGE {
        let text = format!("{number:04} ").repeat(length / 5);
        let _ = write!(
            rows,
            "INSERT INTO memory_entries (id, key, namespace, content, type) VALUES ('large-{number:04}', \
             'large/{number:04}', 'large', '{text}', 'semantic');"
        );
    }
    project.edit(SWARM, &(rows + "COMMIT"));
    for number in 0..4 {
        project.edit(
            SWARM,
            &format!(
                "INSERT INTO patterns (id, name, pattern_type, condition, action, confidence) VALUES \
             ('both-{number}', 'of swarm', 'workflow', 'c{number}', 'a', 0.{number})"
            ),
        );
        project.edit(AGENTIC, &format!(
            "INSERT INTO patterns (id, pattern, confidence, created_at) VALUES ('both-{number}', 'of agentic-qe {number}', 0.5, 1)"
        ));
    }
    // Nobody has a mapping for this shape: it is archived until it has the usual one.
    project.edit(AGENTIC, "ALTER TABLE goap_plans RENAME COLUMN goal_id TO goal");
    // No hub keeps a zero in a key; and PostgreSQL has no room for a key that long.
    project.edit(
        SWARM,
        "INSERT INTO patterns (id, name, pattern_type, condition, action) VALUES \
        ('nul' || char(0), 'n', 'workflow', 'c', 'a'), (hex(randomblob(4000)), 'long', 'workflow', 'c', 'a')",
    );
}

/// Everything changes, on both sides.
fn second(project: &Project, hub: &Hub) {
    project.edit(
        SWARM,
        "UPDATE memory_entries SET content = upper(content) || 'changed' WHERE id LIKE 'large-%';
         DELETE FROM memory_entries WHERE id IN ('large-0007', 'large-0250');
         UPDATE patterns SET confidence = 0.9, name = 'changed' WHERE id IN ('both-1', 'both-2');
         DELETE FROM patterns WHERE name IN ('n', 'long');
         INSERT INTO patterns (id, name, pattern_type, condition, action) VALUES ('whole', 'w', 'workflow', 'c', 'a')",
    );
    project.edit(
        AGENTIC,
        "UPDATE patterns SET pattern = pattern || ' again', confidence = 0.7 WHERE id LIKE 'both-%';
         ALTER TABLE goap_plans RENAME COLUMN goal TO goal_id;
         DELETE FROM patterns WHERE id = 'both-3'; DELETE FROM goap_goals WHERE rowid = 1",
    );
    // Somebody else's hand in the hub, on rows that change here as well, in the first batch and in a later one.
    hub.execute(
        "UPDATE hub.claude_flow_memory SET content_hash = content_hash + 1, category = 'edited' \
         WHERE key IN ('large/0003', 'large/0300')",
    );
}

/// The ledger is gone, and so is most of a table: that stream stops, and says so.
fn third(project: &Project, _: &Hub) {
    project.remove_ledger();
    project.edit(SWARM, "DELETE FROM memory_entries WHERE id > 'large-0100' AND id LIKE 'large-%'");
    project.edit(AGENTIC, "UPDATE patterns SET usage_count = usage_count + 1");
}
