//! `aqe-sync report`: a page of how the hub is doing and of what was learned.

mod chart;
mod html;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use aqe_sync_core::history::{RunRecord, newest_first};
use aqe_sync_core::insight::{Insight, insight};
use aqe_sync_core::monitor::{Finding, Level, Measures, Series, rows_over_time, worst};
use aqe_sync_core::{Timestamp, tables};
use futures::executor::block_on;
use serde::Serialize;

use super::Context;
use crate::args::ReportFlags;
use crate::exit::{Exit, Failure};
use crate::facts::{Facts, gather_since};
use crate::hub::{self, Purpose, with_hub};
use crate::output::{bytes, count, counted, plain};

/// What a page begins with: a file that does not is no page of ours, and is left alone.
const MARK: &str = "<!DOCTYPE html>\n<!-- aqe-sync report -->\n";

/// All that is on the page.
#[derive(Serialize)]
struct Page {
    hub: String,
    environment: String,
    status: Level,
    findings: Vec<Finding>,
    #[serde(flatten)]
    measures: Measures,
    /// When the syncs that are shown begin.
    since: Timestamp,
    /// They, the newest first.
    runs: Vec<RunRecord>,
    rows_over_time: Vec<Series>,
    /// `None` where the hub could not be asked.
    insight: Option<Insight>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// What could not be found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Makes the page.
///
/// # Errors
/// When the file cannot be written, or is there and none of these pages.
pub(crate) fn run(context: &Context<'_>, flags: &ReportFlags) -> Result<Exit, Failure> {
    let file = match flags.html.as_deref() {
        Some(file) if file.as_os_str() == "-" => {
            if context.terminal.json {
                return Err(Failure::usage("the page and --json cannot both go to standard output: name a file"));
            }
            None
        }
        other => other,
    };
    // Before anything else is done: gathering may take a while.
    file.map(writable).transpose()?;
    let page = page(context, flags.days)?;
    context.terminal.json(&page)?;
    page.warnings.iter().for_each(|warning| context.terminal.warning(warning));
    if let Some(error) = &page.error {
        context.terminal.error(error);
    }
    if flags.html.is_some() {
        let text = format!("{MARK}{}", html::page(&page));
        match file {
            Some(file) => {
                write(file, &text)?;
                context.terminal.result(&summary(&page, file, text.len()))?;
            }
            None => context.terminal.document(text.trim_end())?,
        }
    }
    Ok(if page.error.is_some() { Exit::Failed } else { Exit::Ok })
}

fn page(context: &Context<'_>, days: u32) -> Result<Page, Failure> {
    let now = Timestamp::now();
    let begin = now.as_micros().saturating_sub(i64::from(days) * 86_400_000_000);
    let since = Timestamp::from_micros(begin).unwrap_or(now);
    let facts = gather_since(context.settings, None, since)?.unwrap_or_else(Facts::none);
    let Facts { overview, measures, findings, mut runs, offline } = facts;
    let (insight, error) = match offline {
        Some(error) => (None, Some(error)),
        None => match learned(context, now) {
            Ok(insight) => (insight, None),
            Err(failure) => (None, Some(failure.message)),
        },
    };
    let rows_over_time = rows_over_time(&overview, &runs, since);
    runs.retain(|run| run.started_at >= since);
    newest_first(&mut runs);
    Ok(Page {
        hub: context.hub_shown(),
        environment: context.settings.environment.value.to_string(),
        status: worst(&findings),
        findings,
        measures,
        since,
        runs,
        rows_over_time,
        insight,
        warnings: overview.warnings,
        error,
    })
}

fn learned(context: &Context<'_>, now: Timestamp) -> Result<Option<Insight>, Failure> {
    let Some(hub) = hub::open(context.settings, Purpose::Look)? else { return Ok(Some(Insight::default())) };
    Ok(Some(with_hub!(hub, hub => block_on(insight(&hub, tables::all(), now)))?))
}

fn summary(page: &Page, file: &Path, size: usize) -> String {
    let rows: u64 = page.measures.tables.iter().map(|table| table.rows).sum();
    let crossed = match page.findings.len() as u64 {
        0 => String::new(),
        crossed => format!(", {} crossed", counted(crossed, "threshold")),
    };
    plain(&format!(
        "wrote {} ({}): {}, {}, {} in {} environments{crossed}; hub {}",
        file.display(),
        bytes(size as u64),
        counted(rows, "record"),
        counted(page.runs.len() as u64, "sync"),
        counted(page.measures.environments.iter().map(|one| one.streams.len() as u64).sum(), "stream"),
        count(page.measures.environments.len() as u64),
        page.hub,
    ))
}

/// Whether a page may be written there: to a new file, over an empty one, or over an older page.
fn writable(file: &Path) -> Result<(), Failure> {
    let shown = file.display();
    if file.is_dir() {
        return Err(Failure::usage(format!("{shown} is a folder: name a file in it, such as {shown}/report.html")));
    }
    let folder = folder(file);
    if !folder.is_dir() {
        return Err(Failure::usage(format!("there is no folder {}: create it first", folder.display())));
    }
    let mut beginning = Vec::new();
    match File::open(file).and_then(|file| file.take(MARK.len() as u64).read_to_end(&mut beginning)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::failed(format!("cannot look at {shown}: {error}"))),
        Ok(_) if beginning.is_empty() || beginning == MARK.as_bytes() => Ok(()),
        Ok(_) => Err(Failure::usage(format!(
            "{shown} is there already and is no report of aqe-sync; nothing was written: choose another name"
        ))),
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Puts the page there as a whole: who reads the file meanwhile sees the old one or the new one.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    // A link stays one.
    let place: PathBuf = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let failed = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", file.display()));
    let mut new = tempfile::Builder::new();
    new.prefix(".aqe-sync-report-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any new file: the mask takes away what it must.
        let mode = std::fs::metadata(&place).map_or(0o666, |known| known.permissions().mode() & 0o777);
        new.permissions(std::fs::Permissions::from_mode(mode));
    }
    let mut new = new.tempfile_in(folder(&place)).map_err(failed)?;
    new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(failed)?;
    writable(&place)?;
    new.persist(&place).map_err(|error| failed(error.error))?;
    Ok(())
}
