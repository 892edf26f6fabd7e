//! How a relay is to misbehave, and what it has seen.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// A request for a WebSocket, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query.
    pub target: String,
    /// The header `Authorization`; empty if there was none.
    pub authorization: String,
    /// The header `Origin`; empty if there was none.
    pub origin: String,
    /// The header `Sec-WebSocket-Protocol`; empty if there was none.
    pub protocol: String,
}

impl Request {
    /// Returns a parameter of the query, as it is written there.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// What a request gets instead of a session.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// No WebSocket.
    Status(u16),
    /// A WebSocket with these messages, and then its end with this code; without one it stays open.
    Messages(Vec<Bytes>, Option<(u16, String)>),
}

/// What transports that are open are told.
#[derive(Clone, Debug)]
pub(super) enum Order {
    None,
    /// Break off, and forget every session.
    Restart,
    /// Close with a code.
    Close(u16, String),
}

#[derive(Default)]
struct State {
    cuts: VecDeque<u64>,
    refusals: VecDeque<Refusal>,
    lose_acks: bool,
    small: bool,
    delay: Duration,
    requests: Vec<Request>,
    cut: u64,
}

/// Shared between a relay and whoever steers it.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) orders: tokio::sync::watch::Sender<Order>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), orders: tokio::sync::watch::Sender::new(Order::None) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cut_after(&self, bytes: u64) {
        self.lock().cuts.push_back(bytes);
    }

    pub(super) fn next_cut(&self) -> u64 {
        self.lock().cuts.pop_front().unwrap_or(u64::MAX)
    }

    pub(super) fn was_cut(&self) {
        self.lock().cut += 1;
    }

    pub(super) fn cuts(&self) -> u64 {
        self.lock().cut
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        self.lock().refusals.push_back(refusal);
    }

    pub(super) fn next_refusal(&self) -> Option<Refusal> {
        self.lock().refusals.pop_front()
    }

    pub(super) fn saw(&self, request: Request) {
        self.lock().requests.push(request);
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    pub(super) fn behave(&self, change: impl FnOnce(&mut bool, &mut bool, &mut Duration)) {
        let state = &mut *self.lock();
        change(&mut state.lose_acks, &mut state.small, &mut state.delay);
    }

    /// Whether acknowledgements get lost, whether pieces are small, and how long each message waits.
    pub(super) fn manners(&self) -> (bool, bool, Duration) {
        let state = self.lock();
        (state.lose_acks, state.small, state.delay)
    }
}
