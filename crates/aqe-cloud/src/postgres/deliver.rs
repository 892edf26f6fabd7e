//! A delivery's way: at once where it can, with decisions where it must, again where
//! that can help.

use std::sync::Arc;

use aqe_sync_core::{Change, Delivery, Operation, Pushed, Result, SinkTxn as _, StreamId};

use super::batch::SMALL;
use super::connections::{Connections, lock};
use super::link::{Budget, retry};
use super::push::{Push, Sent};
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
        let budget = if self.is_dry_run() { Budget { attempts: 1, ..Budget::default() } } else { Budget::default() };
        // Sending the same again is without a second effect: what is there already is
        // found unchanged, and letters are kept once.
        let sent = retry(budget, || self.send(&stream, &table, &delivery, &route)).await?;
        if let Sent::Committed(applied, committed) = sent {
            return Ok(Pushed::Committed(applied, committed));
        }
        let attempt = || async {
            let mut txn = self.begin(route.lane, &stream, &table).await?;
            let applied = txn.apply(delivery.changes.clone()).await?;
            Ok((txn, applied))
        };
        let (mut txn, applied) = retry(budget, attempt).await?;
        let Delivery { letters, checkpoint, .. } = delivery;
        if !applied.contested.is_empty() || !applied.refused.is_empty() {
            return Ok(Pushed::Contested { txn, applied, letters, checkpoint });
        }
        txn.reject(letters).await?;
        let committed = txn.commit(checkpoint).await?;
        Ok(Pushed::Committed(applied, committed))
    }

    async fn send(&self, stream: &StreamId, table: &Table, delivery: &Delivery, route: &Route) -> Result<Sent> {
        let inserts = |change: &Change| change.base.is_none() && matches!(change.operation, Operation::Upsert(_));
        loop {
            let new = !lock(&self.known).contains(stream) && delivery.changes.iter().all(inserts);
            let push = Push { dialect: &self.dialect, stream, table, delivery, size: route.size, new };
            let mut session = self.lanes[route.lane].turn().await;
            let link = self.link(&mut session).await?;
            match push.send(session, &link).await {
                Ok(Sent::NotNew) => lock(&self.known).insert(stream.clone()),
                Ok(sent) => return Ok(sent),
                Err(failure) if failure.is_of_data() => return Ok(Sent::Undecided),
                Err(failure) => {
                    let error = failure.into_error(&link, "writing to the hub");
                    return Err(error.context("table", table.spec.name()));
                }
            };
        }
    }

    /// Begins a transaction that stays open.
    pub(super) async fn begin(&self, lane: usize, stream: &StreamId, table: &Arc<Table>) -> Result<PostgresTxn> {
        let mut session = self.lanes[lane].own_turn().await;
        let link = self.link(&mut session).await?;
        let opened = Opened { link, dialect: Arc::clone(&self.dialect), runtime: self.runtime.clone(), session };
        PostgresTxn::begin(opened, stream.clone(), Arc::clone(table)).await
    }

    /// Chooses the lane of a delivery: that of its table, or else the one with the least to do.
    pub(super) fn route(self: &Arc<Self>, table: &Table, changes: &[Change]) -> Route {
        let size = changes.iter().map(Change::size).sum();
        let name = table.spec.name().to_string();
        let mut routes = lock(&self.routes);
        let lane = match routes.get(&name) {
            Some((lane, _)) => *lane,
            // What is small shares the first connection: another would have to be opened.
            None if size <= SMALL => 0,
            None => (0..self.lanes.len()).min_by_key(|lane| self.lanes[*lane].load()).unwrap_or(0),
        };
        routes.entry(name.clone()).or_insert((lane, 0)).1 += 1;
        self.lanes[lane].add_load(size);
        Route { connections: Arc::clone(self), table: name, lane, size }
    }
}

/// A delivery's place on a lane, until it is dropped.
pub(super) struct Route {
    connections: Arc<Connections>,
    table: String,
    lane: usize,
    size: usize,
}

impl Drop for Route {
    fn drop(&mut self) {
        self.connections.lanes[self.lane].remove_load(self.size);
        let mut routes = lock(&self.connections.routes);
        if let Some((_, count)) = routes.get_mut(&self.table) {
            *count -= 1;
            if *count == 0 {
                routes.remove(&self.table);
            }
        }
    }
}
