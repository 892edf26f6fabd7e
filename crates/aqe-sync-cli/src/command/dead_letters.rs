//! `aqe-sync dead-letters`: records that could not be stored.

use std::collections::BTreeSet;

use aqe_sync_core::history::{History, Letter, LetterFilter};
use aqe_sync_core::{Environment, Timestamp};
use futures::executor::block_on;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Context;
use super::pull::known_tables;
use crate::args::{DeadLettersCommand, DeadLettersFlags};
use crate::exit::{Exit, Failure};
use crate::hub::{self, Purpose, with_hub};
use crate::output::{Cell, Colour, Table, age, counted, plain};

/// So many digits of an id are listed: enough to tell some ten thousand apart.
const ID_SHOWN: usize = 12;

/// Lists, shows, retries or drops.
///
/// # Errors
/// When there is no hub, or it cannot be read or written; when an id means none, or several.
pub(crate) fn run(context: &Context<'_>, flags: &DeadLettersFlags) -> Result<Exit, Failure> {
    let outcome = hub::check(context.settings).and_then(|()| match &flags.what {
        None | Some(DeadLettersCommand::List) => list(context, flags),
        Some(DeadLettersCommand::Show { id }) => show(context, id),
        Some(DeadLettersCommand::Retry { ids }) => retry(context, ids),
        Some(DeadLettersCommand::Drop { ids, all }) => drop_them(context, ids, *all),
    });
    match outcome {
        Err(failure) if failure.exit == Exit::Failed => context.failed(failure),
        outcome => outcome,
    }
}

/// A letter for programs.
#[derive(Serialize)]
struct Shown<'l> {
    id: &'l str,
    environment: &'l str,
    source: &'l str,
    stream: &'l str,
    table: &'l str,
    key: &'l str,
    reason: &'l str,
    first_seen: Timestamp,
    last_seen: Timestamp,
    settled: Option<Timestamp>,
    /// Null where it is no JSON, which no version writes.
    record: Option<&'l RawValue>,
}

impl<'l> Shown<'l> {
    fn of(letter: &'l Letter) -> Self {
        Self {
            id: &letter.id,
            environment: letter.stream.environment.as_str(),
            source: letter.stream.source.as_str(),
            stream: letter.stream.stream.as_str(),
            table: &letter.table,
            key: &letter.key,
            reason: &letter.reason,
            first_seen: letter.first_seen,
            last_seen: letter.last_seen,
            settled: letter.settled,
            record: serde_json::from_str(letter.record.as_str()).ok(),
        }
    }
}

fn asked(context: &Context<'_>, filter: LetterFilter) -> Result<(Vec<Letter>, u64), Failure> {
    let hub = context.existing_hub(Purpose::Look)?;
    Ok(with_hub!(hub, hub => block_on(hub.letters(filter)))?)
}

fn list(context: &Context<'_>, flags: &DeadLettersFlags) -> Result<Exit, Failure> {
    if let Some(table) = &flags.table {
        known_tables(std::slice::from_ref(table))?;
    }
    let filter = LetterFilter {
        environment: flags.from.as_deref().map(Environment::parse).transpose()?,
        table: flags.table.clone(),
        settled: flags.settled,
        limit: flags.limit,
        ..LetterFilter::default()
    };
    let (letters, total) = asked(context, filter)?;
    let shown: Vec<Shown<'_>> = letters.iter().map(Shown::of).collect();
    context.terminal.json(&serde_json::json!({ "dead_letters": shown, "total": total }))?;
    let now = Timestamp::now();
    let mut table = Table::new(&["id", "seen", "environment", "source", "table", "key", "reason"]);
    for letter in &letters {
        let reason = match letter.settled {
            Some(moment) => Cell::text(format!("settled {}: {}", age(moment, now), letter.reason)).colour(Colour::Dim),
            None => Cell::text(&letter.reason),
        };
        table.row(vec![
            Cell::text(letter.id.get(..ID_SHOWN).unwrap_or(&letter.id)),
            Cell::text(age(letter.last_seen, now)),
            Cell::text(&letter.stream.environment),
            Cell::text(&letter.stream.source),
            Cell::text(&letter.table),
            Cell::text(&letter.key),
            reason,
        ]);
    }
    if !table.is_empty() {
        context.terminal.result(&format!("{}\n", table.draw(context.terminal.paint)))?;
    }
    let more = if total > letters.len() as u64 {
        format!(" (the newest {}; more with --limit)", letters.len())
    } else {
        String::new()
    };
    context.terminal.result(&format!("{}{more}; hub {}", counted(total, "dead letter"), context.hub_shown()))?;
    Ok(Exit::Ok)
}

/// The letter whose id begins so.
fn one(context: &Context<'_>, id: &str, environment: Option<&Environment>) -> Result<Letter, Failure> {
    let filter = LetterFilter {
        id: Some(id.to_ascii_lowercase()),
        environment: environment.cloned(),
        settled: true,
        limit: 2,
        ..LetterFilter::default()
    };
    let (mut letters, total) = asked(context, filter)?;
    let shown = plain(id);
    let whose = environment.map_or_else(String::new, |environment| format!(" of {environment}"));
    match (letters.pop(), total) {
        (Some(letter), 1) => Ok(letter),
        (Some(_), _) => {
            Err(Failure::failed(format!("{total} dead letters{whose} begin with {shown}: give more of the id")))
        }
        (None, _) => Err(Failure::failed(format!(
            "the hub at {} has no dead letter {shown}{whose}: see aqe-sync dead-letters",
            context.hub_shown()
        ))),
    }
}

fn show(context: &Context<'_>, id: &str) -> Result<Exit, Failure> {
    let letter = one(context, id, None)?;
    context.terminal.json(&Shown::of(&letter))?;
    let record = serde_json::from_str::<serde_json::Value>(letter.record.as_str());
    let record = record.and_then(|record| serde_json::to_string_pretty(&record));
    let record = record.unwrap_or_else(|_| letter.record.as_str().to_owned());
    let settled = letter.settled.map_or_else(|| "no".to_owned(), |moment| moment.to_string());
    for (name, text) in [
        ("id", letter.id.as_str()),
        ("environment", letter.stream.environment.as_str()),
        ("source", letter.stream.source.as_str()),
        ("stream", letter.stream.stream.as_str()),
        ("table", letter.table.as_str()),
        ("key", letter.key.as_str()),
        ("first seen", &letter.first_seen.to_string()),
        ("last seen", &letter.last_seen.to_string()),
        ("settled", &settled),
        ("reason", letter.reason.as_str()),
    ] {
        context.terminal.result(&format!("{name:12}{}", plain(text)))?;
    }
    let lines: Vec<String> = record.lines().map(plain).collect();
    context.terminal.result(&lines.join("\n"))?;
    Ok(Exit::Ok)
}

/// Letters of this environment: those that are named, else all, or all that are open.
fn own(context: &Context<'_>, ids: &[String], settled: bool) -> Result<Vec<Letter>, Failure> {
    let environment = &context.settings.environment.value;
    if ids.is_empty() {
        let (environment, limit) = (Some(environment.clone()), usize::MAX);
        let filter = LetterFilter { environment, settled, limit, ..LetterFilter::default() };
        return Ok(asked(context, filter)?.0);
    }
    ids.iter().map(|id| one(context, id, Some(environment))).collect()
}

/// What a retry came to.
#[derive(Serialize)]
struct Retried<'l> {
    status: &'static str,
    stored: Vec<&'l str>,
    /// They could not be stored this time either.
    open: Vec<Shown<'l>>,
    /// Their sources are not here.
    without_source: Vec<Shown<'l>>,
}

fn retry(context: &Context<'_>, ids: &[String]) -> Result<Exit, Failure> {
    let letters = own(context, ids, false)?;
    let letters: Vec<&Letter> = letters.iter().filter(|letter| letter.settled.is_none()).collect();
    let sources: BTreeSet<&str> = letters.iter().map(|letter| letter.stream.source.as_str()).collect();
    let read = if letters.is_empty() { BTreeSet::new() } else { super::sync::read_again(context, &sources)? };
    let still: Vec<Letter> = if read.is_empty() { Vec::new() } else { own(context, &[], false)? };
    let is_open = |letter: &&&Letter| still.iter().any(|open| open.id == letter.id);
    let of_read = |letter: &&&Letter| read.contains(letter.stream.source.as_str());
    let without: Vec<&&Letter> = letters.iter().filter(|letter| !of_read(letter)).collect();
    let open: Vec<&&Letter> = letters.iter().filter(|letter| of_read(letter) && is_open(letter)).collect();
    let stored: Vec<&str> =
        letters.iter().filter(|letter| of_read(letter) && !is_open(letter)).map(|letter| letter.id.as_str()).collect();
    let well = open.is_empty() && without.is_empty();
    for letter in &open {
        let (source, key, reason) = (&letter.stream.source, &letter.key, &letter.reason);
        context.terminal.warning(&plain(&format!("{source}, {key}: still {reason}")));
    }
    for letter in &without {
        let (source, key) = (&letter.stream.source, &letter.key);
        context.terminal.warning(&plain(&format!(
            "{source}, {key}: the source is not here; the record is kept, see aqe-sync dead-letters show {}",
            letter.id.get(..ID_SHOWN).unwrap_or(&letter.id)
        )));
    }
    let line = format!(
        "{} tried again: {} stored or corrected at their source, {} still open",
        counted(letters.len() as u64, "dead letter"),
        stored.len(),
        open.len() + without.len()
    );
    context.terminal.json(&Retried {
        status: if well { "ok" } else { "partial" },
        stored,
        open: open.iter().map(|letter| Shown::of(letter)).collect(),
        without_source: without.iter().map(|letter| Shown::of(letter)).collect(),
    })?;
    context.terminal.result(&line)?;
    Ok(if well { Exit::Ok } else { Exit::Warning })
}

fn drop_them(context: &Context<'_>, ids: &[String], all: bool) -> Result<Exit, Failure> {
    let environment = &context.settings.environment.value;
    let _lock = context.lock("dead-letters drop")?;
    let letters = own(context, if all { &[] } else { ids }, true)?;
    let ids: Vec<String> = letters.iter().map(|letter| letter.id.clone()).collect();
    let hub = context.existing_hub(Purpose::Existing)?;
    let dropped = with_hub!(hub, hub => block_on(hub.drop_letters(environment, ids)))?;
    context.terminal.json(&serde_json::json!({ "status": "ok", "dropped": dropped }))?;
    context.terminal.result(&format!("{} dropped", counted(dropped, "dead letter")))?;
    Ok(Exit::Ok)
}
