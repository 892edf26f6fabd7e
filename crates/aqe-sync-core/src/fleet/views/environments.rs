//! Who there is.

use super::{Dialect, View};
use crate::{audit, tables};

/// The hub's own audit rows are nobody's memory, and do not count.
pub(super) fn view(dialect: &Dialect) -> View {
    let counted = tables::all().iter().map(|table| {
        let name = table.name().as_str();
        format!(
            "SELECT source_env, '{name}' AS table_name, count(*) - count(deleted_at) AS live, \
             count(deleted_at) AS deleted FROM {} WHERE source <> '{}' GROUP BY source_env",
            dialect.relation(name),
            audit::SOURCE
        )
    });
    let counted = counted.collect::<Vec<_>>().join("\n  UNION ALL ");
    let relation = |name| dialect.relation(name);
    let query = format!(
        "WITH counted AS (\n  {counted}\n)\n\
         SELECT source_env AS environment, source_env IN (SELECT source_env FROM {excluded}) AS excluded,\n  \
         (SELECT min(started_at) FROM {history} h WHERE h.source_env = e.source_env) AS first_sync,\n  \
         (SELECT max(synced_at) FROM {state} s WHERE s.source_env = e.source_env) AS last_sync,\n  \
         (SELECT {live} FROM counted c WHERE c.source_env = e.source_env) AS live_rows,\n  \
         (SELECT {deleted} FROM counted c WHERE c.source_env = e.source_env) AS deleted_rows,\n  \
         (SELECT {object} FROM counted c WHERE c.source_env = e.source_env) AS tables\n\
         FROM (SELECT source_env FROM {state} UNION SELECT source_env FROM {history} \
         UNION SELECT source_env FROM {excluded}) e",
        excluded = relation("fleet_excluded"),
        history = relation("sync_history"),
        state = relation("sync_state"),
        live = dialect.total("live"),
        deleted = dialect.total("deleted"),
        object = dialect.object_of("table_name", "live", "deleted"),
    );
    View { name: "fleet_environments".to_owned(), query }
}
