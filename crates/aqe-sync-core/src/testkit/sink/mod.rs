//! What every sink has to keep.

mod atomic;
mod conflicts;
mod stage;
mod values;
mod writers;

use std::future::Future;

use futures::future::LocalBoxFuture;

use super::violation::{Checked, Violation};
use crate::Sink;
use stage::Stage;

type Making<'a, T> = Box<dyn Fn() -> LocalBoxFuture<'a, T> + 'a>;

/// A sink under test: how to open it, and what is known of it.
///
/// Tables of the names `testkit_…` are made in it, with rows of environments that no
/// other check uses: one store serves for any number of checks.
pub struct SinkCase<'a, S> {
    open: Making<'a, S>,
    census: Option<Making<'a, String>>,
    reads_wait: bool,
}

impl<'a, S: Sink> SinkCase<'a, S> {
    /// A sink that `open` makes anew, on the same store each time: as a second program
    /// does that writes to it.
    pub fn new<F, O>(open: O) -> Self
    where
        O: Fn() -> F + 'a,
        F: Future<Output = S> + 'a,
    {
        Self { open: Box::new(move || Box::pin(open())), census: None, reads_wait: false }
    }

    /// Everything that is stored, as text, however the store is looked at from outside:
    /// what a rollback must leave as it was, dead letters and logs included.
    #[must_use]
    pub fn census<F, C>(mut self, census: C) -> Self
    where
        C: Fn() -> F + 'a,
        F: Future<Output = String> + 'a,
    {
        self.census = Some(Box::new(move || Box::pin(census())));
        self
    }

    /// Says that nobody can read while a transaction is open: then nobody is asked to.
    #[must_use]
    pub fn reads_wait_for_writes(mut self) -> Self {
        self.reads_wait = true;
        self
    }
}

/// Checks a sink: transactions, repetition, conflicts, values, writers at the same time.
///
/// # Errors
/// The first rule that is broken.
pub async fn check_sink<S: Sink>(case: &SinkCase<'_, S>) -> Result<Checked, Violation> {
    let mut checked = Checked::default();
    let stage = Stage::open(case, &mut checked).await?;
    atomic::commits(&stage, &mut checked).await?;
    atomic::rollbacks(&stage, &mut checked).await?;
    atomic::repetitions(&stage, &mut checked).await?;
    conflicts::check(&stage, &mut checked).await?;
    values::check(&stage, &mut checked).await?;
    values::names(&stage, &mut checked).await?;
    writers::check(&stage, &mut checked).await?;
    Ok(checked)
}
