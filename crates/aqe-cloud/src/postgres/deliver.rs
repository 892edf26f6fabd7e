//! A delivery's way: at once where it can, with decisions where it must, again where
//! that can help.

use std::sync::Arc;

use aqe_sync_core::{Change, Delivery, Operation, Pushed, Result, SinkTxn as _, StreamId, failpoint};

use super::batch::{SMALL, SMALL_FROM_AFAR};
use super::connections::{Connections, lock};
use super::link::retry;
use super::order::{Given, Needs, Order};
use super::push::{Push, Sent, Way};
use super::table::Table;
use super::txn::{Opened, PostgresTxn};

impl Connections {
    /// Writes a delivery, or gives back the transaction that waits for decisions.
    pub(super) async fn deliver(
        self: Arc<Self>,
        stream: StreamId,
        table: Arc<Table>,
        delivery: Delivery,
        route: Route,
    ) -> Result<Pushed<PostgresTxn>> {
        self.check_writer(&stream.environment)?;
        // Sending the same again is without a second effect: what is there already is
        // found unchanged, and letters are kept once.
        let sent = retry(self.budget(), || self.send(&stream, &table, &delivery, &route)).await?;
        if let Sent::Committed(applied, committed) = sent {
            return Ok(Pushed::Committed(applied, committed));
        }
        failpoint!("postgres-undecided");
        route.order.start(Needs::Durable).await?;
        let attempt = || async {
            let mut txn = self.begin(route.lane, &stream, &table).await?;
            let applied = txn.apply(delivery.changes.clone()).await?;
            Ok((txn, applied))
        };
        let (mut txn, applied) = retry(self.budget(), attempt).await?;
        txn.keep(Arc::clone(&route.order));
        let Delivery { letters, checkpoint, .. } = delivery;
        if !applied.contested.is_empty() || !applied.refused.is_empty() {
            return Ok(Pushed::Contested { txn, applied, letters, checkpoint });
        }
        txn.reject(letters).await?;
        let committed = txn.commit(checkpoint).await?;
        Ok(Pushed::Committed(applied, committed))
    }

    /// Tries to get a delivery through as a whole; others may follow it only if it does.
    async fn send(&self, stream: &StreamId, table: &Table, delivery: &Delivery, route: &Route) -> Result<Sent> {
        let inserts = |change: &Change| change.base.is_none() && matches!(change.operation, Operation::Upsert(_));
        loop {
            let new = !lock(&self.known).contains(stream) && delivery.changes.iter().all(inserts);
            let way = if route.arrays || delivery.changes.is_empty() {
                Way::Arrays
            } else if new && self.takes_copies {
                Way::Directly
            } else {
                Way::Staged
            };
            let beside = route.order.start(way.needs(&route.order)).await?;
            let push = Push { dialect: &self.dialect, stream, table, delivery, way, beside, order: &route.order };
            let sent = self.send_once(&push, route.lane).await;
            if !matches!(sent, Ok(Sent::Committed(..))) {
                route.order.astray();
            }
            match sent? {
                Sent::NotNew => {
                    lock(&self.known).insert(stream.clone());
                }
                Sent::OutOfTurn => {}
                sent @ Sent::Committed(..) => {
                    route.order.durable();
                    return Ok(sent);
                }
                Sent::Undecided => return Ok(Sent::Undecided),
            }
        }
    }

    async fn send_once(&self, push: &Push<'_>, lane: usize) -> Result<Sent> {
        let mut session = self.lanes[lane].turn().await;
        let link = self.link(&mut session).await?;
        push.order.underway(None);
        match push.send(session, &link).await {
            Ok(sent) => Ok(sent),
            Err(failure) if failure.is_of_data() => Ok(Sent::Undecided),
            Err(failure) => {
                let error = failure.into_error(&link, "writing to the hub");
                Err(error.context("table", push.table.spec.name()))
            }
        }
    }

    /// Begins a transaction that stays open.
    pub(super) async fn begin(&self, lane: usize, stream: &StreamId, table: &Arc<Table>) -> Result<PostgresTxn> {
        self.check_writer(&stream.environment)?;
        let mut session = self.lanes[lane].own_turn().await;
        let link = self.link(&mut session).await?;
        let opened = Opened { link, dialect: Arc::clone(&self.dialect), runtime: self.runtime.clone(), session };
        PostgresTxn::begin(opened, stream.clone(), Arc::clone(table)).await
    }

    /// Chooses the lane of a delivery: beside the one of its stream before it, if there is
    /// one; otherwise what is small follows others of its table.
    ///
    /// Far from the server everything is small: a `COPY` costs round trips, arrays follow
    /// one another on one connection without any.
    pub(super) fn route(self: &Arc<Self>, stream: &StreamId, table: &Table, changes: &[Change]) -> Route {
        let size = changes.iter().map(Change::size).sum();
        let name = table.spec.name().to_string();
        let mut routes = lock(&self.routes);
        let arrays = if self.far { size <= SMALL_FROM_AFAR } else { size <= SMALL && !self.orders.any(stream) };
        let lane = match routes.get(&name) {
            Some(last) if arrays || self.abreast() == 1 || last.stream != *stream => last.lane,
            // What is small shares the first connection: another would have to be opened.
            None if arrays => 0,
            _ => (0..self.lanes.len()).min_by_key(|lane| self.lanes[*lane].load()).unwrap_or(0),
        };
        let last = routes.get(&name);
        // Whoever comes first to a key decides what the policy of the table sees.
        let after = last.filter(|last| last.stream != *stream).map(|last| last.given.clone());
        let count = last.map_or(0, |last| last.count) + 1;
        let order = Arc::new(self.orders.join(stream, arrays.then_some(lane), after));
        routes.insert(name.clone(), Last { stream: stream.clone(), lane, count, given: order.given() });
        self.lanes[lane].add_load(size);
        Route { connections: Arc::clone(self), order, arrays, table: name, lane, size }
    }
}

/// Where the last delivery into a table went.
pub(super) struct Last {
    stream: StreamId,
    lane: usize,
    given: Given,
    /// How many deliveries into the table are on their way.
    count: usize,
}

/// A delivery's place on a lane, until it is dropped.
pub(super) struct Route {
    connections: Arc<Connections>,
    pub(super) order: Arc<Order>,
    /// Whether it goes as parameters of one statement.
    arrays: bool,
    table: String,
    lane: usize,
    size: usize,
}

impl Drop for Route {
    fn drop(&mut self) {
        self.connections.lanes[self.lane].remove_load(self.size);
        let mut routes = lock(&self.connections.routes);
        if let Some(last) = routes.get_mut(&self.table) {
            last.count -= 1;
            if last.count == 0 {
                routes.remove(&self.table);
            }
        }
    }
}
