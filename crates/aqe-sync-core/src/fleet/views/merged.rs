//! The fleet's records of one table.

use super::{Dialect, View};
use crate::fleet::merge::{is_vector, says};
use crate::{ColumnSpec, ColumnType, Mutability, Role, TableSpec};

/// All rows of a key, in the order in which sums run.
const EVERYONE: &str = "OVER everyone";

pub(super) fn name(table: &str) -> String {
    format!("merged_{table}")
}

/// [`crate::fleet::merge`] as a query. Everything is partitioned by the key, so that a
/// condition on the key reaches the table.
pub(super) fn view(dialect: &Dialect, table: &TableSpec) -> View {
    let shown = || table.columns().iter().filter(|column| !is_vector(column));
    let names: Vec<String> = shown().map(|column| column.name.quoted().to_string()).collect();
    let (names, keys) = (names.join(", "), key_names(table));
    let keys_only = table.key_columns().len();
    let merged = shown().enumerate().map(|(position, column)| {
        let name = column.name.quoted();
        let value = if position < keys_only { name.to_string() } else { value(dialect, column) };
        format!("{value} AS {name}")
    });
    let merged = merged.collect::<Vec<_>>().join(",\n    ");
    let said = dialect.said(table.columns()[keys_only..].iter().filter(|column| says(column)));
    let (rank, by_name) = (rank(table, dialect), dialect.by_name());
    let query = format!(
        "SELECT {names}, extra, winner, environments, environment_count, agreeing\n\
         FROM (SELECT *, count(*) FILTER (WHERE aqe_agrees) OVER (PARTITION BY {keys}) AS agreeing\n\
         FROM (\n  SELECT {merged},\n    extra, source_env AS winner, {environments} AS environments,\n    \
         count(*) {EVERYONE} AS environment_count, row_number() OVER ranked AS aqe_place, aqe_counts,\n    \
         NOT aqe_counts AND aqe_said = first_value(aqe_said) OVER ranked AS aqe_agrees\n  \
         FROM (SELECT source_env, {names}, extra, {counts_only} AS aqe_counts, {said} AS aqe_said\n    \
         FROM {relation} WHERE deleted_at IS NULL AND source_env NOT IN (SELECT source_env FROM {excluded})) live\n  \
         WINDOW ranked AS (PARTITION BY {keys} ORDER BY aqe_counts, {rank}{by_name}),\n    \
         everyone AS (PARTITION BY {keys} ORDER BY {by_name} \
         ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)\n\
         ) merged) agreed\nWHERE aqe_place = 1 AND NOT aqe_counts",
        environments = dialect.names(EVERYONE),
        counts_only = dialect.counts_only(),
        relation = dialect.relation(table.name().as_str()),
        excluded = dialect.relation("fleet_excluded"),
    );
    View { name: name(table.name().as_str()), query }
}

fn key_names(table: &TableSpec) -> String {
    let names = table.key_columns().iter().map(|column| column.name.quoted().to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// What all contributions make of a column; in the winner's row, so its own is the column.
fn value(dialect: &Dialect, column: &ColumnSpec) -> String {
    let name = column.name.quoted().to_string();
    match &column.role {
        Role::Counter => dialect.count(&name, EVERYONE),
        Role::Rate { weight } => mean(dialect, &name, &weight.quoted().to_string()),
        Role::CreatedAt => format!("min({name}) {EVERYONE}"),
        Role::UpdatedAt => format!("max({name}) {EVERYONE}"),
        Role::Content | Role::Confidence | Role::Embedding | Role::SearchText => name,
    }
}

/// Adding zero makes negative zero zero.
fn mean(dialect: &Dialect, rate: &str, weight: &str) -> String {
    let takes_part = format!("{weight} > 0 AND ({rate} = 0 OR abs({rate}) BETWEEN 1e-280 AND 1e280)");
    let only = |what: &str| format!("CASE WHEN {takes_part} THEN {what} END");
    let rate_of = format!("{} + {}", dialect.double(rate), dialect.double("0"));
    let products = only(&format!("({rate_of}) * {}", dialect.double(weight)));
    let (larger, smaller) = dialect.larger_smaller();
    format!(
        "coalesce({smaller}({larger}(sum({products}) {EVERYONE} / {weights}, min({rates}) {EVERYONE}), \
         max({rates}) {EVERYONE}), {rate})",
        weights = dialect.count_as_double(&only(weight), EVERYONE),
        rates = only(&rate_of),
    )
}

/// The winner first: what the window is ordered by, between who only counts and the name.
fn rank(table: &TableSpec, dialect: &Dialect) -> String {
    let of_role = |role: &Role| table.position_of_role(role).map(|position| &table.columns()[position]);
    let moment = |role: &Role| {
        let column = of_role(role).filter(|column| column.kind == ColumnType::Timestamp);
        column.map(|column| column.name.quoted().to_string())
    };
    let created = moment(&Role::CreatedAt);
    if table.mutability() == Mutability::Immutable {
        return created.map_or(String::new(), |created| format!("{created} ASC NULLS LAST, "));
    }
    let times: Vec<String> = [moment(&Role::UpdatedAt), created].into_iter().flatten().collect();
    let time = match times.as_slice() {
        [] => String::new(),
        [time] => format!("{time} DESC NULLS LAST, "),
        times => format!("coalesce({}) DESC NULLS LAST, ", times.join(", ")),
    };
    format!("{} DESC, {time}", dialect.sureness(of_role(&Role::Confidence)))
}
