//! Which part of a file goes to which hub table.

use std::collections::HashSet;
use std::sync::Arc;

use aqe_sync_core::{Deletes, Result, StreamSpec, TableSpec, Value, tables};

use super::JsonLayout;
use super::archive::{Archive, Except};
use super::daemon::{self, Workers};
use super::intelligence::{Memories, QValues};
use super::mapping::emit;
use super::memories::{MemoryStore, Store};
use super::metrics::{MetricList, MetricObject};
use super::outline::{Kind, Outline, Part, outline};
use super::walk::{Section, text_of, text_value, unreadable};
use crate::SourceFile;
use crate::emit::{Emitter, Stop};
use crate::snapshot::{Snapshot, Span};

/// The stream of single values, which need no stream each.
const VALUES: &str = "(values)";

/// The stream of a file that is a list.
const ELEMENTS: &str = "(elements)";

/// An object of more parts than this is one part itself: every part is a line
/// in the report.
const MOST_PARTS: usize = 256;

/// Larger worker states are no worker states.
const LARGEST_DAEMON_STATE: u64 = 64 << 20;

/// One stream and where its entries are.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) spec: StreamSpec,
    sections: Vec<Section>,
    job: Job,
}

/// How entries become records.
#[derive(Debug)]
enum Job {
    Store,
    /// With the namespace of each section.
    MemoryStore(Vec<Value>),
    /// With where the workers' configuration is.
    Workers(Option<Span>),
    MetricObject,
    MetricList,
    QValues,
    Memories,
    /// With the part's name.
    Archive(Value, Except),
}

impl Planned {
    /// Emits all records of the stream; the caller ends it.
    pub(super) fn emit(&self, snapshot: &mut Snapshot, file: &SourceFile, emitter: &mut Emitter) -> Result<(), Stop> {
        let sections = &self.sections;
        match &self.job {
            Job::Store => emit(snapshot, sections, &mut Store::new(file), emitter),
            Job::MemoryStore(namespaces) => {
                emit(snapshot, sections, &mut MemoryStore::new(file, namespaces.clone()), emitter)
            }
            Job::Workers(config) => {
                let mut workers = Workers::new(file, daemon::configuration(snapshot, *config)?.workers);
                emit(snapshot, sections, &mut workers, emitter)?;
                workers.emit_rest(emitter)
            }
            Job::MetricObject => emit(snapshot, sections, &mut MetricObject::new(file), emitter),
            Job::MetricList => emit(snapshot, sections, &mut MetricList::new(file), emitter),
            Job::QValues => emit(snapshot, sections, &mut QValues::new(file), emitter),
            Job::Memories => emit(snapshot, sections, &mut Memories::new(), emitter),
            Job::Archive(part, except) => {
                emit(snapshot, sections, &mut Archive::new(file, part.clone(), *except), emitter)
            }
        }
    }
}

/// Assigns every part of a file, and says what is worth knowing.
pub(super) fn plan(
    file: &SourceFile,
    layout: JsonLayout,
    snapshot: &mut Snapshot,
) -> Result<(Vec<Planned>, Vec<String>)> {
    let all = snapshot.all();
    let Outline { kind, parts } = outline(snapshot.section(all).map_err(unreadable)?).map_err(unreadable)?;
    let mut planner = Planner { file, parts, all, streams: Vec::new(), names: HashSet::new(), notes: Vec::new() };
    match (layout, kind) {
        (JsonLayout::Metrics, Kind::Object) => {
            planner.add("metrics", "claude_flow_metrics", vec![Section::Whole("\"\"".into(), all)], Job::MetricObject);
            return Ok(planner.finish());
        }
        (JsonLayout::Metrics, Kind::Array) => {
            planner.add("metrics", "claude_flow_metrics", vec![Section::Inside(all)], Job::MetricList);
            planner.keep_deleted();
            return Ok(planner.finish());
        }
        (JsonLayout::Store, _) => planner.store(),
        (JsonLayout::MemoryStore, _) => planner.memory_store(),
        (JsonLayout::DaemonState, _) => planner.daemon(snapshot)?,
        (JsonLayout::Intelligence, _) => planner.intelligence(),
        (JsonLayout::Metrics | JsonLayout::Archive, _) => {}
    }
    planner.archive(kind, layout);
    Ok(planner.finish())
}

struct Planner<'a> {
    file: &'a SourceFile,
    /// The parts that are not assigned yet.
    parts: Vec<Part>,
    all: Span,
    streams: Vec<Planned>,
    names: HashSet<String>,
    notes: Vec<String>,
}

impl Planner<'_> {
    fn finish(self) -> (Vec<Planned>, Vec<String>) {
        (self.streams, self.notes)
    }

    fn store(&mut self) {
        match self.take("entries", Kind::Object) {
            Some(part) => self.add("entries", "claude_flow_memory", vec![Section::Inside(part.span)], Job::Store),
            None => self.note_missing("an object `entries`"),
        }
    }

    fn memory_store(&mut self) {
        let lists = |part: &Part| part.kind == Kind::Array;
        let (namespaces, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.parts).into_iter().partition(lists);
        self.parts = others;
        if namespaces.is_empty() {
            return self.note_missing("a namespace with a list of memories");
        }
        let names = namespaces.iter().map(|part| text_value(&part.key)).collect();
        let sections = namespaces.iter().map(|part| Section::Inside(part.span)).collect();
        self.add("memories", "claude_flow_memory", sections, Job::MemoryStore(names));
    }

    fn daemon(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        if self.all.end > LARGEST_DAEMON_STATE {
            self.note_missing("a worker state of a sensible size");
            return Ok(());
        }
        let Some(workers) = self.take("workers", Kind::Object) else {
            self.note_missing("an object `workers`");
            return Ok(());
        };
        let config = self.last("config", Kind::Object).map(|position| self.parts[position].span);
        self.add("workers", "claude_flow_workers", vec![Section::Inside(workers.span)], Job::Workers(config));
        if let Some(span) = config
            && daemon::configuration(snapshot, Some(span))?.complete
        {
            self.take("config", Kind::Object);
            let archive = Job::Archive("config".into(), Except::ConfiguredWorkers);
            self.add("config", "archive_records", vec![Section::Inside(span)], archive);
        }
        Ok(())
    }

    fn intelligence(&mut self) {
        if let Some(part) = self.take("patterns", Kind::Object) {
            let section = || vec![Section::Inside(part.span)];
            self.add("patterns", "qlearning_patterns", section(), Job::QValues);
            // The same map holds entries of another shape after `pretrain`.
            let archive = Job::Archive("patterns".into(), Except::QValues);
            self.add("patterns (other shapes)", "archive_records", section(), archive);
        }
        if let Some(part) = self.take("memories", Kind::Array) {
            self.add("memories", "intelligence_memories", vec![Section::Inside(part.span)], Job::Memories);
        }
    }

    /// Keeps what is left: a stream per object or list, one for all single values.
    fn archive(&mut self, kind: Kind, layout: JsonLayout) {
        let everything = match kind {
            Kind::Array => Some((ELEMENTS, Section::Inside(self.all))),
            Kind::Scalar => Some((VALUES, Section::Whole("\"\"".into(), self.all))),
            Kind::Object if self.streams.is_empty() && self.parts.len() > MOST_PARTS => {
                Some((VALUES, Section::Inside(self.all)))
            }
            Kind::Object => None,
        };
        if let Some((name, section)) = everything {
            return self.add(name, "archive_records", vec![section], Job::Archive("".into(), Except::Nothing));
        }
        let parts = std::mem::take(&mut self.parts);
        let (values, parts): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.kind == Kind::Scalar);
        if !values.is_empty() {
            let sections = values.into_iter().map(|part| Section::Whole(part.key, part.span)).collect();
            self.add(VALUES, "archive_records", sections, Job::Archive("".into(), Except::Nothing));
        }
        // The last of several parts of one name is the one that the tool reads: it gets the plain name.
        let begun = self.streams.len();
        let mut archived = HashSet::new();
        for part in parts.iter().rev() {
            let name = text_of(&part.key).unwrap_or_else(|| part.key.to_string());
            let mut part_name = text_value(&part.key);
            if !archived.insert(name.clone()) {
                part_name = Value::Text(unique(&mut archived, &name));
            }
            let archive = Job::Archive(part_name, Except::Nothing);
            self.add(&name, "archive_records", vec![Section::Inside(part.span)], archive);
            // Trajectories beyond a thousand are cut off at their old end.
            if layout == JsonLayout::Intelligence && name == "trajectories" {
                self.keep_deleted();
            }
        }
        self.streams[begun..].reverse();
    }

    /// The last part of that name, if it is of the kind: of repeated members
    /// JavaScript reads the last.
    fn last(&self, name: &str, kind: Kind) -> Option<usize> {
        let position = self.parts.iter().rposition(|part| text_of(&part.key).as_deref() == Some(name))?;
        (self.parts[position].kind == kind).then_some(position)
    }

    fn take(&mut self, name: &str, kind: Kind) -> Option<Part> {
        self.last(name, kind).map(|position| self.parts.remove(position))
    }

    fn add(&mut self, name: &str, table: &str, sections: Vec<Section>, job: Job) {
        let name = if name.is_empty() { "(unnamed)".to_owned() } else { name.replace('\0', "\u{fffd}") };
        let name = if self.names.insert(name.clone()) { name } else { unique(&mut self.names, &name) };
        let spec = StreamSpec::new(name.as_str(), find(table));
        self.streams.push(Planned { spec, sections, job });
    }

    /// Makes the last stream one whose source forgets while the hub remembers.
    fn keep_deleted(&mut self) {
        if let Some(planned) = self.streams.last_mut() {
            planned.spec.deletes = Deletes::Ignore;
        }
    }

    fn note_missing(&mut self, expected: &str) {
        self.notes.push(format!(
            "{}: {expected} is expected and not there; what the file holds was kept in archive_records, \
             and nothing that was synced before counts as deleted",
            self.file.name
        ));
    }
}

/// Adds `name` to the names, numbered so that it is a new one.
fn unique(names: &mut HashSet<String>, name: &str) -> String {
    let mut number = 2_u64;
    loop {
        let fresh = format!("{name}#{number}");
        if names.insert(fresh.clone()) {
            return fresh;
        }
        number += 1;
    }
}

fn find(table: &str) -> Arc<TableSpec> {
    Arc::clone(tables::find(table).expect("the catalogue has every table that is named in this file"))
}
