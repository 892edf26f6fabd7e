//! What every source has to keep.

mod reading;

use std::future::Future;

use futures::StreamExt as _;
use futures::future::LocalBoxFuture;

use reading::{Reading, fails, read, read_part, specs};
pub(super) use reading::{print_of, shown};

use super::violation::{Checked, Rule, Violation, done};
use crate::{BatchLimits, Fingerprint, Source};

/// So many cuts, about: of more records a batch holds several, and of more batches not
/// each is cut off, but those at the beginning, at the end, and evenly between.
const CUTS: usize = 24;

type Making<'a, T> = Box<dyn Fn() -> LocalBoxFuture<'a, T> + 'a>;

/// A source under test: how to open it, and what can be done to it.
///
/// What is not said is not checked, and is missing in [`Checked::rules`].
///
/// ```
/// use aqe_sync_core::testkit::SourceCase;
/// # use aqe_sync_core::{BatchStream, ReadRequest, Result, Source, SourceName, StreamSpec, batches};
/// # struct Notes(SourceName);
/// # impl Source for Notes {
/// #     fn name(&self) -> &SourceName { &self.0 }
/// #     async fn streams(&self) -> Result<Vec<StreamSpec>> { Ok(Vec::new()) }
/// #     fn read(&self, request: ReadRequest) -> BatchStream { batches(request, |_| Ok(Vec::new())) }
/// # }
/// # fn add_a_note() {}
/// let case = SourceCase::new(|| async { Notes("notes.txt".into()) }).changed_by(|| async { add_a_note() });
/// ```
pub struct SourceCase<'a, S> {
    open: Making<'a, S>,
    panicking: Option<Making<'a, S>>,
    change: Option<Making<'a, ()>>,
    settle: Option<Making<'a, ()>>,
}

impl<'a, S: Source> SourceCase<'a, S> {
    /// A source that `open` makes anew, over the same data each time: at least two records.
    pub fn new<F, O>(open: O) -> Self
    where
        O: Fn() -> F + 'a,
        F: Future<Output = S> + 'a,
    {
        Self { open: making(open), panicking: None, change: None, settle: None }
    }

    /// Changes what the source reads, every time in another way: best what comes first
    /// and what comes last. Needed where the source offers fingerprints.
    #[must_use]
    pub fn changed_by<F, C>(mut self, change: C) -> Self
    where
        C: Fn() -> F + 'a,
        F: Future<Output = ()> + 'a,
    {
        self.change = Some(making(change));
        self
    }

    /// Makes the data look as if nobody had written to it for long, so that the
    /// fingerprint is settled: sets a file's time into the past, say.
    #[must_use]
    pub fn settled_by<F, C>(mut self, settle: C) -> Self
    where
        C: Fn() -> F + 'a,
        F: Future<Output = ()> + 'a,
    {
        self.settle = Some(making(settle));
        self
    }

    /// A source whose code panics somewhere while it reads.
    #[must_use]
    pub fn panicking<F, O>(mut self, open: O) -> Self
    where
        O: Fn() -> F + 'a,
        F: Future<Output = S> + 'a,
    {
        self.panicking = Some(making(open));
        self
    }
}

fn making<'a, T, F, M>(make: M) -> Making<'a, T>
where
    M: Fn() -> F + 'a,
    F: Future<Output = T> + 'a,
{
    Box::new(move || Box::pin(make()))
}

/// Checks a source: whatever it is asked for, in whatever portions, however often, and
/// while it changes.
///
/// # Errors
/// The first rule that is broken; also when there is next to nothing to read, or the
/// source offers fingerprints and nobody says how it changes.
pub async fn check_source<S: Source>(case: &SourceCase<'_, S>) -> Result<Checked, Violation> {
    let mut checked = Checked::default();
    let whole = read(&(case.open)().await, None, limits(usize::MAX), &mut checked).await?;
    if whole.count() < 2 {
        let found = format!("the source gave {} records; give it at least 2", whole.count());
        return Err(Violation::new(Rule::HasSomethingToCheck, found));
    }
    repeatable(case, &whole, &mut checked).await?;
    cuts(case, &whole, &mut checked).await?;
    if let Some(panicking) = &case.panicking {
        let source = panicking().await;
        let outcome = fails(&source).await;
        checked.hold(Rule::PanicIsAnError, outcome.is_ok(), || outcome.err().unwrap_or_default())?;
    }
    fingerprints(case, &mut checked).await?;
    if let Some(change) = &case.change {
        for place in [0, 1, 2, 3] {
            snapshot(case, change, place, &mut checked).await?;
        }
    }
    Ok(checked)
}

fn limits(rows: usize) -> BatchLimits {
    BatchLimits { rows, bytes: usize::MAX }
}

/// The same from the same instance, from another, in other portions, and stream by stream.
async fn repeatable<S: Source>(
    case: &SourceCase<'_, S>,
    whole: &Reading,
    checked: &mut Checked,
) -> Result<(), Violation> {
    let source = (case.open)().await;
    for rows in [usize::MAX, usize::MAX, 3, 1] {
        let again = read(&source, None, limits(rows), checked).await?;
        let same = whole.difference(&again);
        checked.hold(Rule::Repeatable, same.is_none(), || {
            format!("read again, with {rows} records a batch at most: {}", same.unwrap_or_default())
        })?;
    }
    let tiny = BatchLimits { rows: usize::MAX, bytes: 1 };
    let again = read(&source, None, tiny, checked).await?;
    let same = whole.difference(&again);
    checked.hold(Rule::Repeatable, same.is_none(), || {
        format!("read again, with one byte a batch: {}", same.unwrap_or_default())
    })?;
    for spec in specs(&source, Rule::Repeatable).await? {
        let name = spec.name.clone();
        let alone = read(&source, Some(vec![spec]), limits(2), checked).await?;
        let same = whole.only(&name).difference(&alone);
        checked.hold(Rule::ResumesWithTheRemainder, same.is_none(), || {
            format!("stream {name} asked for alone: {}", same.unwrap_or_default())
        })?;
    }
    Ok(())
}

/// Breaks readings off at batches from the first to the last: what was read and what the
/// next reading adds to it are the whole, as the engine puts them together.
async fn cuts<S: Source>(case: &SourceCase<'_, S>, whole: &Reading, checked: &mut Checked) -> Result<(), Violation> {
    let portion = limits(whole.count().div_ceil(CUTS));
    let all = read(&(case.open)().await, None, portion, checked).await?.batches;
    let between = all.div_ceil(CUTS).max(1);
    for cut in (0..=all).filter(|cut| cut % between == 0 || *cut == 1 || cut + 1 >= all) {
        let source = (case.open)().await;
        let part = read_part(&source, portion, cut).await?;
        let beyond = part.beyond(whole);
        checked.hold(Rule::ResumesWithTheRemainder, beyond.is_none(), || {
            format!("before a cut after batch {cut}: {} is too much", beyond.unwrap_or_default())
        })?;
        // The instance that was cut off goes on, as in a run that is tried again; then a
        // new one, as in the next run.
        let again = read(&source, None, portion, checked).await?;
        drop(source);
        let other = read(&(case.open)().await, None, limits(usize::MAX), checked).await?;
        for (again, whose) in [(again, "the same instance"), (other, "another instance")] {
            let difference = whole.difference(&again);
            checked.hold(Rule::ResumesWithTheRemainder, difference.is_none(), || {
                format!("after a cut at batch {cut}, read on with {whose}: {}", difference.unwrap_or_default())
            })?;
        }
    }
    early_drops(case, whole, checked).await
}

/// Whoever is dropped early, a stream, a source, a future: the others go on.
async fn early_drops<S: Source>(
    case: &SourceCase<'_, S>,
    whole: &Reading,
    checked: &mut Checked,
) -> Result<(), Violation> {
    let source = (case.open)().await;
    drop(futures::poll!(Box::pin(source.streams())));
    drop(futures::poll!(Box::pin(source.fingerprint())));
    let streams = specs(&source, Rule::EarlyDropIsSafe).await?;
    let request = || crate::ReadRequest { streams: streams.clone(), limits: limits(1) };
    // Never polled; polled once; two at a time, of which one goes.
    drop(source.read(request()));
    drop(futures::poll!(source.read(request()).next()));
    let (mut one, other) = (source.read(request()), source.read(request()));
    drop(futures::poll!(one.next()));
    drop(one);
    let beside = reading::drain(other, &streams, limits(1), checked).await?;
    let again = read(&source, None, limits(1), checked).await?;
    let outliving = source.read(request());
    drop(source);
    let outliving = reading::drain(outliving, &streams, limits(1), checked).await?;
    for (reading, what) in [
        (beside, "a reading beside one that is dropped"),
        (again, "a later reading"),
        (outliving, "a reading that outlives its source"),
    ] {
        let difference = whole.difference(&reading);
        checked.hold(Rule::EarlyDropIsSafe, difference.is_none(), || {
            format!("{what}: {}", difference.unwrap_or_default())
        })?;
    }
    Ok(())
}

async fn fingerprint<S: Source>(source: &S) -> Result<Option<Fingerprint>, Violation> {
    done(Rule::FingerprintSeesChanges, "taking the fingerprint", source.fingerprint().await)
}

/// An engine skips a source whose fingerprint is the settled one that it remembers.
async fn fingerprints<S: Source>(case: &SourceCase<'_, S>, checked: &mut Checked) -> Result<(), Violation> {
    if fingerprint(&(case.open)().await).await?.is_none() {
        return Ok(());
    }
    let Some(change) = &case.change else {
        let found = "the source offers fingerprints: say with `changed_by` how it changes";
        return Err(Violation::new(Rule::HasSomethingToCheck, found));
    };
    for _ in 0..3 {
        if let Some(settle) = &case.settle {
            settle().await;
        }
        let source = (case.open)().await;
        let before = fingerprint(&source).await?;
        if !before.as_ref().is_some_and(|before| before.settled) {
            let found =
                "the fingerprint is not settled, so nothing would be skipped: say with `settled_by` how it gets so";
            return Err(Violation::new(Rule::HasSomethingToCheck, found));
        }
        let old = read(&source, None, limits(2), checked).await?;
        change().await;
        let after = [fingerprint(&source).await?, fingerprint(&(case.open)().await).await?];
        let new = read(&(case.open)().await, None, limits(2), checked).await?;
        changed(&old, &new)?;
        let bytes = |fingerprint: &Option<Fingerprint>| fingerprint.as_ref().map(|one| one.bytes.clone());
        for (after, whose) in after.iter().zip(["the same instance", "another instance"]) {
            checked.hold(Rule::FingerprintSeesChanges, bytes(after) != bytes(&before), || {
                let change = old.difference(&new).unwrap_or_default();
                format!("the fingerprint that {whose} gives is the same as before a change: {change}")
            })?;
        }
    }
    Ok(())
}

fn changed(old: &Reading, new: &Reading) -> Result<(), Violation> {
    if old.difference(new).is_some() {
        return Ok(());
    }
    Err(Violation::new(Rule::HasSomethingToCheck, "`changed_by` changed nothing that the source reads"))
}

/// Writes in the middle of a reading. It may give the old state or the new one, or fail.
async fn snapshot<S: Source>(
    case: &SourceCase<'_, S>,
    change: &Making<'_, ()>,
    place: usize,
    checked: &mut Checked,
) -> Result<(), Violation> {
    let source = (case.open)().await;
    let streams = specs(&source, Rule::OneSnapshot).await?;
    let old = read(&(case.open)().await, Some(streams.clone()), limits(1), checked).await?;
    let position = [0, 1, old.batches / 2, old.batches.saturating_sub(1)][place];
    let mut batches = source.read(crate::ReadRequest { streams: streams.clone(), limits: limits(1) });
    let mut taken = Vec::new();
    for _ in 0..position {
        taken.extend(batches.next().await);
    }
    change().await;
    let mut rest = futures::stream::iter(taken).chain(batches).boxed();
    let mut seen = Vec::new();
    while let Some(batch) = rest.next().await {
        let Ok(batch) = batch else {
            // It noticed: nothing of this reading counts as whole.
            return checked.hold(Rule::OneSnapshot, true, String::new);
        };
        seen.push(Ok(batch));
    }
    let mixed = reading::drain(futures::stream::iter(seen).boxed(), &streams, limits(1), checked).await?;
    let now = read(&(case.open)().await, None, limits(1), checked).await?;
    changed(&old, &now)?;
    let names: Vec<_> = streams.iter().map(|spec| &spec.name).collect();
    let new = now.restricted(&names);
    let pure = mixed.difference(&old).is_none() || mixed.difference(&new).is_none();
    checked.hold(Rule::OneSnapshot, pure, || {
        let difference = old.difference(&mixed).unwrap_or_default();
        format!(
            "written to after batch {position}, it gave neither the old state nor the new one; of the old, {difference}"
        )
    })
}
