//! `aqe-sync embed`: gives the hub's rows the vectors of their texts.

use std::time::{Duration, Instant};

use aqe_sync_core::embed::{Filled, Filling, Progress as At, VectorHub, fill, pending};
use aqe_sync_core::{Embedder, Environment, tables};
use futures::executor::block_on;
use serde::Serialize;

use super::Context;
use crate::args::EmbedFlags;
use crate::exit::{Exit, Failure};
use crate::hub::{self, OpenHub, Purpose, with_hub};
use crate::model::{self, Missing};
use crate::output::{Progress, Terminal, count, counted, duration, plain};

/// What was done, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Embedded {
    status: &'static str,
    model: String,
    /// Rows that changed since the last time.
    looked_at: u64,
    /// Rows that have a new vector.
    #[serde(rename = "embedded")]
    pub(super) rows: u64,
    /// Texts that the model computed one for.
    computed: u64,
    /// Rows that share the vector of another with the same text.
    shared: u64,
    unchanged: u64,
    without_text: u64,
    removed: u64,
    duration_ms: u64,
    /// Texts that the model computed in a second.
    per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    index_built: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

impl Embedded {
    fn new(model: &str, filled: Filled, took: Duration) -> Self {
        Self {
            status: "ok",
            model: model.to_owned(),
            looked_at: filled.looked_at,
            rows: filled.embedded(),
            computed: filled.computed,
            shared: filled.shared,
            unchanged: filled.unchanged,
            without_text: filled.without_text,
            removed: filled.removed,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            per_second: (filled.computed as f64 / took.as_secs_f64().max(1e-3) * 10.0).round() / 10.0,
            index_built: None,
            dry_run: false,
        }
    }
}

/// Embeds what is new or changed.
///
/// # Errors
/// When there is no hub or no model, or one of them fails.
pub(crate) fn run(context: &Context<'_>, flags: &EmbedFlags) -> Result<Exit, Failure> {
    let outcome = hub::check(context.settings).and_then(|()| opened(context, flags));
    match outcome {
        Err(failure) if failure.exit == Exit::Failed => context.failed(failure),
        outcome => outcome,
    }
}

fn opened(context: &Context<'_>, flags: &EmbedFlags) -> Result<Exit, Failure> {
    super::pull::known_tables(&flags.table)?;
    let filling = Filling { tables: flags.table.iter().cloned().collect(), ..Filling::default() };
    let hub = context.existing_hub(Purpose::Existing)?;
    let embedder = model::open(context.settings, flags.model_dir.as_deref(), fetched(flags), context.terminal);
    if flags.dry_run {
        // The model need not be here to count; without it, it is the published one that is meant.
        let model = embedder.map_or_else(|_| model::published().to_owned(), |embedder| embedder.model_id().to_owned());
        return dry_run(context, &hub, &model, &filling);
    }
    let embedder = embedder?;
    let mut done = with_hub!(&hub, hub => filled(context.terminal, hub, embedder.as_ref(), &filling)?);
    if flags.index {
        done.index_built = Some(index(&hub, embedder.as_ref())?);
    }
    context.terminal.json(&done)?;
    tell(context, &done)?;
    Ok(Exit::Ok)
}

fn fetched(flags: &EmbedFlags) -> Missing {
    if flags.dry_run { Missing::Leave } else { Missing::Fetch }
}

/// Embeds what a sync sent, as the settings want it. A sync never fails for it.
pub(super) fn after_sync<H: VectorHub>(context: &Context<'_>, hub: &H) -> Option<Embedded> {
    if !context.settings.embed.on_sync.as_ref().is_some_and(|on| on.value) {
        return None;
    }
    let own: Environment = context.settings.environment.value.clone();
    let filling = Filling { environments: [own].into(), ..Filling::default() };
    let done = model::open(context.settings, None, Missing::Leave, context.terminal)
        .and_then(|embedder| filled(context.terminal, hub, embedder.as_ref(), &filling));
    match done {
        Ok(done) => Some(done),
        Err(failure) => {
            context.terminal.warning(&format!("nothing was embedded: {}", failure.message));
            None
        }
    }
}

fn filled<H: VectorHub>(
    terminal: &Terminal,
    hub: &H,
    embedder: &dyn Embedder,
    filling: &Filling,
) -> Result<Embedded, Failure> {
    let begun = Instant::now();
    let progress = Progress::new(terminal);
    let told = |at: &At<'_>| {
        let rate = at.filled.computed as f64 / begun.elapsed().as_secs_f64().max(1e-3);
        progress.at(&format!(
            "{}  {}  {} looked at, {} embedded, {rate:.0} texts/s",
            at.environment,
            at.table,
            counted(at.filled.looked_at, "row"),
            count(at.filled.embedded()),
        ));
    };
    let filled = block_on(fill(hub, tables::all(), embedder, filling, told))?;
    Ok(Embedded::new(embedder.model_id(), filled, begun.elapsed()))
}

fn dry_run(context: &Context<'_>, hub: &OpenHub, model: &str, filling: &Filling) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let filled = with_hub!(hub, hub => block_on(pending(hub, tables::all(), model, filling))?);
    let done = Embedded { dry_run: true, per_second: 0.0, ..Embedded::new(model, filled, begun.elapsed()) };
    context.terminal.json(&done)?;
    let line = format!(
        "{} would be embedded, {} of them with a text of their own; nothing was written; hub {}",
        counted(done.rows, "row"),
        count(done.computed),
        context.hub_shown()
    );
    context.terminal.result(&plain(&line))?;
    Ok(Exit::Ok)
}

fn index(hub: &OpenHub, embedder: &dyn Embedder) -> Result<bool, Failure> {
    match hub {
        OpenHub::Embedded(_) => Ok(false),
        OpenHub::Postgres(hub) => Ok(hub.index_vectors(embedder.model_id(), embedder.dimension())?),
    }
}

fn tell(context: &Context<'_>, done: &Embedded) -> Result<(), Failure> {
    let mut line = if done.looked_at == 0 {
        "nothing to embed: every row has the vector of its text".to_owned()
    } else {
        format!(
            "{} embedded ({} computed, {} shared), {} as they were, {} without text, {} removed; {}, {:.0} texts/s",
            counted(done.rows, "row"),
            count(done.computed),
            count(done.shared),
            count(done.unchanged),
            count(done.without_text),
            count(done.removed),
            duration(done.duration_ms),
            done.per_second
        )
    };
    match done.index_built {
        Some(true) => line.push_str("; index built"),
        Some(false) => line.push_str("; no index was built: there is one, or this hub is searched exactly"),
        None => {}
    }
    context.terminal.result(&plain(&format!("{line}; hub {}", context.hub_shown())))
}
