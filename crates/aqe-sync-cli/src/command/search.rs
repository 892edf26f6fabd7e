//! `aqe-sync search`: finds what was learned. `aqe-sync fleet similar`: finds what was learned twice.

use std::collections::BTreeSet;

use aqe_sync_core::embed::{Place, VectorHub};
use aqe_sync_core::rowjson::row_to_json;
use aqe_sync_core::search::{Answer, Hit, Pair, Query, Similar, recall};
use aqe_sync_core::{Embedder, Environment, tables};
use futures::executor::block_on;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Context;
use super::fleet::key_of;
use crate::args::SearchFlags;
use crate::config::Origin;
use crate::exit::{Exit, Failure};
use crate::hub::{self, OpenHub, Purpose, with_hub};
use crate::model::{self, Missing};
use crate::output::{Cell, Colour, Table, counted, plain};

/// So many letters of a text are shown in a line.
const SHOWN: usize = 160;

/// A row that was found, for programs.
#[derive(Serialize)]
struct Found<'a> {
    table: &'a str,
    environment: &'a str,
    key: String,
    similarity: Option<f64>,
    score: f64,
    has_words: bool,
    confidence: Option<f64>,
    uses: Option<i64>,
    text: &'a str,
    row: Option<Box<RawValue>>,
}

impl<'a> Found<'a> {
    fn of(hit: &'a Hit) -> Self {
        let table = tables::find(&hit.place.table);
        Self {
            table: &hit.place.table,
            environment: hit.place.environment.as_str(),
            key: hit.place.key.to_string(),
            similarity: hit.similarity,
            score: hit.score,
            has_words: hit.has_words,
            confidence: hit.confidence,
            uses: hit.uses,
            text: &hit.text,
            row: table.and_then(|table| RawValue::from_string(row_to_json(table, &hit.row)).ok()),
        }
    }
}

/// Searches the hub.
///
/// # Errors
/// When there is no hub, or it cannot be read; when a flag names nothing.
pub(crate) fn run(context: &Context<'_>, flags: &SearchFlags) -> Result<Exit, Failure> {
    let outcome = hub::check(context.settings).and_then(|()| opened(context, flags));
    match outcome {
        Err(failure) if failure.exit == Exit::Failed => context.failed(failure),
        outcome => outcome,
    }
}

fn opened(context: &Context<'_>, flags: &SearchFlags) -> Result<Exit, Failure> {
    super::pull::known_tables(&flags.table)?;
    let query = query(context, flags)?;
    let hub = context.existing_hub(Purpose::Existing)?;
    let (embedder, missing) =
        match model::open(context.settings, flags.model_dir.as_deref(), Missing::Leave, context.terminal) {
            Ok(embedder) => (Some(embedder), None),
            // Who names a folder means it.
            Err(failure) if flags.model_dir.is_some() => return Err(failure),
            Err(failure) => (None, Some(failure.message)),
        };
    if let (Some(missing), None) = (&missing, &flags.like) {
        context.terminal.note(&format!("searched words only: {missing}"));
    }
    let embedder: Option<&dyn Embedder> = embedder.as_deref();
    let answer = with_hub!(&hub, hub => asked(hub, embedder, &query, flags)?);
    let hits: Vec<Found<'_>> = answer.hits.iter().map(Found::of).collect();
    context.terminal.json(&serde_json::json!({
        "query": flags.text, "like": flags.like, "model": answer.model, "hits": hits, "notes": answer.notes,
    }))?;
    tell(context, &answer)?;
    Ok(if answer.hits.is_empty() { Exit::Warning } else { Exit::Ok })
}

fn query(context: &Context<'_>, flags: &SearchFlags) -> Result<Query, Failure> {
    let mut query = Query::text(flags.text.clone().unwrap_or_default());
    if flags.like.is_none() && flags.text.as_ref().is_none_or(|text| text.trim().is_empty()) {
        return Err(Failure::usage("there is nothing to search for: say some words, or --like KEY"));
    }
    query.count = usize::from(flags.count);
    query.tables = flags.table.iter().cloned().collect();
    query.min_confidence = flags.min_confidence;
    query.exact = flags.exact;
    // Here --env says whose rows are meant; who this environment is makes no difference.
    let own = &context.settings.environment;
    if own.origin == Origin::Flag("--env") {
        let names = own.value.as_str().split(',').map(str::trim).filter(|name| !name.is_empty());
        query.environments = names.map(Environment::from).collect::<BTreeSet<_>>();
    }
    Ok(query)
}

/// Asks; a key is looked for in every table that it may be of.
fn asked<H: VectorHub>(
    hub: &H,
    embedder: Option<&dyn Embedder>,
    query: &Query,
    flags: &SearchFlags,
) -> Result<Answer, Failure> {
    let ask = |query: &Query| block_on(aqe_sync_core::search::search(hub, tables::all(), embedder, query));
    let Some(like) = &flags.like else { return Ok(ask(query)?) };
    let mut last = None;
    for table in tables::all().iter().filter(|table| !table.text_columns().is_empty()) {
        let Some(key) = key_of(table, like) else { continue };
        let of_record = Query { question: Query::like(Some(table.name().as_str()), key).question, ..query.clone() };
        match ask(&of_record) {
            Ok(answer) => return Ok(answer),
            Err(error) if error.kind() == aqe_sync_core::ErrorKind::NotFound => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match last {
        Some(_) => Err(Failure::failed(format!(
            "the hub has no vector of a record {like}: check the key (aqe-sync fleet show KEY), and run aqe-sync embed"
        ))),
        None => Err(Failure::usage(format!("{like} is no key of any table with text"))),
    }
}

fn tell(context: &Context<'_>, answer: &Answer) -> Result<(), Failure> {
    let terminal = context.terminal;
    for note in &answer.notes {
        terminal.note(note);
    }
    let mut drawn = Table::new(&[">similarity", "environment", "table", "key", ">confidence", ">uses", "text"]);
    for hit in &answer.hits {
        let number = |number: Option<f64>| number.map_or_else(String::new, |number| format!("{number:.2}"));
        drawn.row(vec![
            Cell::right(number(hit.similarity)),
            Cell::text(hit.place.environment.as_str()),
            Cell::text(&hit.place.table),
            Cell::text(hit.place.key.to_string()),
            Cell::right(number(hit.confidence)),
            Cell::right(hit.uses.map_or_else(String::new, |uses| uses.to_string())),
            Cell::text(short(&hit.text)),
        ]);
    }
    if answer.hits.is_empty() {
        return terminal.result(&plain(&format!("nothing was found; hub {}", context.hub_shown())));
    }
    terminal.result(&drawn.draw(terminal.paint))
}

/// The beginning of a text, in one line.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Two records that say the same, for programs.
#[derive(Serialize)]
struct Twins<'a> {
    similarity: f64,
    table: &'a str,
    domain: Option<&'a str>,
    records: [Twin<'a>; 2],
}

#[derive(Serialize)]
struct Twin<'a> {
    environment: &'a str,
    key: String,
    text: &'a str,
}

impl<'a> Twins<'a> {
    fn of(pair: &'a Pair) -> Self {
        let twin = |place: &'a Place, text: &'a str| Twin {
            environment: place.environment.as_str(),
            key: place.key.to_string(),
            text,
        };
        let ([a, b], [first, second]) = (&pair.places, &pair.texts);
        Self {
            similarity: pair.similarity,
            table: &a.table,
            domain: pair.domain.as_deref(),
            records: [twin(a, first), twin(b, second)],
        }
    }
}

/// Lists records of different environments that say the same.
///
/// # Errors
/// When the hub cannot be read, or has no vectors.
pub(super) fn similar<H: VectorHub>(
    context: &Context<'_>,
    hub: &H,
    table: Option<&str>,
    least: f64,
    limit: usize,
) -> Result<Exit, Failure> {
    let named: Vec<String> = table.into_iter().map(str::to_owned).collect();
    super::pull::known_tables(&named)?;
    let wanted = Similar { least, limit, tables: named.into_iter().collect() };
    let pairs = block_on(aqe_sync_core::search::similar(hub, tables::all(), None, &wanted))?;
    let shown: Vec<Twins<'_>> = pairs.iter().map(Twins::of).collect();
    context.terminal.json(&serde_json::json!({ "pairs": shown, "least": least }))?;
    let terminal = context.terminal;
    for twins in &shown {
        let domain = twins.domain.map(|domain| format!(", domain {domain}")).unwrap_or_default();
        let heading = plain(&format!("{:.2}  {}{domain}", twins.similarity, twins.table));
        terminal.result(&terminal.paint.on(&heading, Colour::Bold))?;
        for twin in &twins.records {
            terminal.result(&plain(&format!("  {}  {}  {}", twin.environment, twin.key, short(twin.text))))?;
        }
    }
    let hub = context.hub_shown();
    terminal.result(&plain(&format!(
        "{} of records that say the same (cosine {least} or more); nothing was merged; hub {hub}",
        counted(pairs.len() as u64, "pair")
    )))?;
    Ok(Exit::Ok)
}

/// How one model's index did, for programs.
#[derive(Serialize)]
struct Checked<'a> {
    model: &'a str,
    vectors: u64,
    sampled: usize,
    recall: f64,
    enough: bool,
    remembered: bool,
}

/// `aqe-sync verify --vectors`: whether the hub's index finds what there is.
///
/// # Errors
/// When the hub cannot be read.
pub(super) fn verify(context: &Context<'_>, sample: usize) -> Result<Exit, Failure> {
    let hub: OpenHub = context.existing_hub(Purpose::Existing)?;
    let recalls = with_hub!(&hub, hub => block_on(recall(hub, sample))?);
    let enough = recalls.iter().all(|recall| recall.enough);
    let checked: Vec<Checked<'_>> = recalls
        .iter()
        .map(|one| Checked {
            model: &one.model,
            vectors: one.vectors,
            sampled: one.sampled,
            recall: one.recall,
            enough: one.enough,
            remembered: one.remembered,
        })
        .collect();
    context
        .terminal
        .json(&serde_json::json!({ "status": if enough { "match" } else { "differ" }, "vectors": checked }))?;
    for one in &checked {
        let line = format!(
            "{}: {}, the nearest ten of {} looked for: recall {:.3}{}",
            one.model,
            counted(one.vectors, "vector"),
            one.sampled,
            one.recall,
            if one.enough { "" } else { "; searches look at every vector instead" }
        );
        context.terminal.result(&plain(&line))?;
        if !one.remembered {
            context.terminal.note("this login may not have the hub remember it: searches do not go by it");
        }
    }
    if checked.is_empty() {
        context
            .terminal
            .result(&plain(&format!("there are no vectors: run aqe-sync embed; hub {}", context.hub_shown())))?;
    }
    Ok(if enough { Exit::Ok } else { Exit::Warning })
}
