//! `aqe-sync config`: every setting, and where it comes from.

use serde::Serialize;

use super::Context;
use crate::config::{Entry, entries};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Colour, Table};

#[derive(Serialize)]
struct Configuration {
    file: Option<String>,
    settings: Vec<Entry>,
}

/// Shows the effective configuration.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn run(context: &Context<'_>) -> Result<Exit, Failure> {
    let configuration = Configuration {
        file: context.settings.file.as_ref().map(|path| path.display().to_string()),
        settings: entries(context.settings),
    };
    context.terminal.json(&configuration)?;
    let mut table = Table::new(&["key", "value", "where it comes from"]);
    for entry in &configuration.settings {
        let origin = Cell::text(&entry.origin);
        table.row(vec![
            Cell::text(&entry.key),
            Cell::text(entry.value.as_deref().unwrap_or("-")),
            if entry.value.is_some() { origin } else { origin.colour(Colour::Dim) },
        ]);
    }
    context.terminal.result(&table.draw(context.terminal.paint))?;
    Ok(Exit::Ok)
}
