//! Whether another installation wrote under this environment's name.

use super::{Run, Sink};
use crate::{Instance, Result, StreamId, Timestamp};

/// Another installation wrote a stream last, and this one does not know what.
pub(super) struct Elsewhere {
    /// Which.
    instance: Instance,
    /// When it last wrote anything of the environment.
    at: Timestamp,
    /// Whether this installation wrote the stream before as well: then two of them
    /// use one name, and not one took over from the other.
    pub(super) clash: bool,
}

impl<S: Sink> Run<'_, S> {
    /// Whether what the hub has of a stream is somebody else's. A ledger in step
    /// with the hub proves that nobody else wrote since.
    pub(super) fn elsewhere(&self, id: &StreamId) -> Result<Option<Elsewhere>> {
        let ours = &self.options.instance;
        let foreign =
            |instance: &Instance| !ours.as_str().is_empty() && !instance.as_str().is_empty() && instance != ours;
        let Some(state) = self.states.get(id).filter(|state| foreign(&state.checkpoint.instance)) else {
            return Ok(None);
        };
        let known = self.ledger.load(id)?;
        if known.as_ref().is_some_and(|known| known.sequence == state.sequence) {
            return Ok(None);
        }
        let instance = state.checkpoint.instance.clone();
        let theirs = self.states.values().filter(|state| state.checkpoint.instance == instance);
        let at = theirs.map(|state| state.checkpoint.at).max().unwrap_or(state.checkpoint.at);
        Ok(Some(Elsewhere { instance, at, clash: known.is_some() }))
    }

    /// Two installations use one name: what to tell somebody who should look.
    pub(super) fn clash(&self, other: &Elsewhere) -> String {
        format!(
            "environment {} is written by two installations: this one is {}, but {} wrote to the hub since, last at {}; \
             rows that differ were left to the tables' conflict policies and nothing was deleted; \
             give one of the two another name with --env or AQE_ENV",
            self.options.environment, self.options.instance, other.instance, other.at
        )
    }

    /// This installation has never written what another one did: a new machine, or a lost state folder.
    pub(super) fn takeover(&self, other: &Elsewhere) -> String {
        format!(
            "environment {} was written by {} until {}; {} takes over: rows that differ were left to the tables' \
             conflict policies, and what only the hub has stays there",
            self.options.environment, other.instance, other.at, self.options.instance
        )
    }
}
