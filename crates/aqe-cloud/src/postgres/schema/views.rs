//! The fleet's views: see [`aqe_sync_core::fleet::views`].

use std::fmt::Write as _;

use aqe_sync_core::fleet::views::{self, Dialect, VERSION};
use aqe_sync_core::{Identifier, Quoted};

use super::present::Survey;

/// The key in `hub_info` that says which version of the views a hub has.
const KEY: &str = "fleet_views";

/// Whether a hub lacks views, or has older ones than this program makes.
pub(super) fn are_due(survey: &Survey, schema: &Identifier) -> bool {
    let recorded = survey.info.get(KEY).and_then(|version| version.parse().ok()).unwrap_or(0);
    let missing = || all(schema).iter().any(|view| survey.present.in_the_way(&view.name).is_none());
    VERSION > recorded || (VERSION == recorded && missing())
}

fn all(schema: &Identifier) -> Vec<views::View> {
    views::all(&Dialect::Postgres { schema: schema.clone() })
}

/// Makes all views anew: columns of a view cannot be moved or removed in place. What was
/// granted on them is granted anew by the owner's default privileges.
pub(super) fn statements(schema: &Identifier) -> String {
    let name = |view: &views::View| format!("{}.{}", schema.quoted(), Quoted(&view.name));
    let views = all(schema);
    let names: Vec<String> = views.iter().map(name).collect();
    let mut sql = format!("DROP VIEW IF EXISTS {};\n", names.join(", "));
    for view in &views {
        // Writing to a String cannot fail.
        let _ = writeln!(sql, "CREATE VIEW {} AS\n{};", name(view), view.query);
    }
    let _ = writeln!(
        sql,
        "INSERT INTO {}.hub_info (key, value) VALUES ('{KEY}', '{VERSION}') \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value;",
        schema.quoted()
    );
    sql
}
