//! Each run that changed something is an event among the others.

use std::sync::Arc;

use crate::{Json, Report, Row, StreamId, TableSpec, Value, tables};

/// What the hub's own audit rows in `events` name as their source.
pub const SOURCE: &str = "aqe-sync";

/// A run as a row of `events`.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Who writes it.
    pub stream: StreamId,
    /// The table `events`.
    pub table: &'static Arc<TableSpec>,
    /// The row.
    pub row: Row,
}

/// The event of a run; `None` for one that changed nothing.
pub fn audit(report: &Report) -> Option<AuditRow> {
    let table = tables::find("events").filter(|_| report.totals.changed_anything())?;
    let payload = serde_json::json!({
        "run_id": report.run_id, "mode": report.mode, "status": report.status, "totals": report.totals,
    });
    let values = table.columns().iter().map(|column| match column.name.as_str() {
        "id" => Value::Text(format!("aqe-sync-run-{}", report.run_id)),
        "type" => Value::from("aqe_sync:run"),
        "payload" => Value::Json(Json::from_text(payload.to_string())),
        "event_source" => Value::from(SOURCE),
        "timestamp" => Value::Timestamp(report.started_at),
        _ => Value::Null,
    });
    let row = Row::new(table, values.collect(), None);
    let stream = StreamId { environment: report.environment.clone(), source: SOURCE.into(), stream: "runs".into() };
    Some(AuditRow { stream, table, row })
}
