//! Where batches are written to.

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::digest::{Bucket, Digest, DigestRequest, HashRange, HashRanges};
use crate::meet::{Contested, Settled};
use crate::record::{Change, DeadLetter, Key};
use crate::report::Report;
use crate::{ContentHash, Environment, Instance, Result, StreamId, TableSpec, Timestamp};

/// How far a stream has got; committed with the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The run that wrote it.
    pub run_id: String,
    /// When, by the writer's clock.
    pub at: Timestamp,
    /// Whether the stream was read to its end.
    pub complete: bool,
    /// Which installation of the environment wrote it.
    pub instance: Instance,
}

/// All that one transaction is to make durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// What changed.
    pub changes: Vec<Change>,
    /// What could not be stored.
    pub letters: Vec<DeadLetter>,
    /// How far the stream is then.
    pub checkpoint: Checkpoint,
}

/// What became of a [`Delivery`].
#[derive(Debug)]
pub enum Pushed<T> {
    /// It is durable.
    Committed(Applied, Committed),
    /// Changes need a decision, or a letter. The transaction holds all that needs none; letters and
    /// checkpoint are still to be given to it.
    Contested {
        /// The open transaction.
        txn: T,
        /// What it did, and what is contested.
        applied: Applied,
        /// The letters of the delivery.
        letters: Vec<DeadLetter>,
        /// The checkpoint of the delivery.
        checkpoint: Checkpoint,
    },
}

/// What the sink knows of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The stream.
    pub stream: StreamId,
    /// Counts the commits of this stream, from 1. A ledger that remembers
    /// another number is out of step and is rebuilt.
    pub sequence: u64,
    /// The table that its rows are in.
    pub table: String,
    /// The last checkpoint.
    pub checkpoint: Checkpoint,
}

/// A live row that a stream contributes to.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownRow {
    /// Its key.
    pub key: Key,
    /// The hash of this stream's contribution.
    pub hash: ContentHash,
    /// Whether the stored columns are what the recorded hash says, as far as the
    /// sink looked.
    pub sound: bool,
}

/// What applying a batch did. Every change is counted once, contested or refused, but
/// for deletes that find nothing to delete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Keys that were new.
    pub inserted: u64,
    /// Rows that moved on from the version the change was based on.
    pub updated: u64,
    /// Rows that already had the content.
    pub unchanged: u64,
    /// Rows that became tombstones. A delete of a key that the sink does not have, or
    /// has as this stream's own tombstone, does nothing and counts nowhere.
    pub deleted: u64,
    /// Changes that need a decision.
    pub contested: Vec<Contested>,
    /// Changes that the sink cannot store, each with the reason: they are kept as dead
    /// letters.
    pub refused: Vec<(Change, String)>,
}

/// What a commit made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// See [`StreamState::sequence`].
    pub sequence: u64,
}

/// Something that batches are written to.
pub trait Sink: Send + Sync {
    /// A transaction of this sink; dropping it rolls it back.
    type Txn: SinkTxn;

    /// A name for people, without secrets.
    fn name(&self) -> &str;

    /// What tells this hub from any other, for good.
    ///
    /// # Errors
    /// When the sink is not reachable.
    fn identity(&self) -> impl Future<Output = Result<String>> + Send;

    /// Makes sure that a table is there with all its columns.
    ///
    /// # Errors
    /// When the table exists in a shape that cannot be evolved.
    fn prepare(&self, table: &Arc<TableSpec>) -> impl Future<Output = Result<()>> + Send;

    /// The state of all streams of an environment.
    ///
    /// # Errors
    /// When the sink is not reachable.
    fn states(&self, environment: &Environment) -> impl Future<Output = Result<Vec<StreamState>>> + Send;

    /// All live rows that a stream contributes to, in batches, in any order.
    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>>;

    /// As [`Sink::known`], but with hashes computed anew from the stored columns:
    /// finds rows that somebody edited by hand. A sink that cannot do that
    /// answers with what it recorded.
    fn recomputed(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.known(stream, table)
    }

    /// The rows of [`Sink::known`] whose recorded hash is one of `hashes`: how the
    /// engine gets at the keys of rows to delete, of which it has hashes only.
    ///
    /// May answer with more rows, also with rows that the stream has no part in; what
    /// it leaves out is looked for in [`Sink::known`]. For a row that several streams
    /// contribute to, the hash of this stream's contribution counts: where that is not
    /// at hand, all such rows may be given. The default answers with all that is known,
    /// which over a slow link costs much for one delete.
    fn keys_of(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        hashes: Vec<ContentHash>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        drop(hashes);
        self.known(stream, table)
    }

    /// What the rows of [`Sink::known`] add up to, without sending them: for each
    /// request one answer, in the same order.
    ///
    /// An answer holds, for every range of [`DigestRequest::bits`] bits inside
    /// [`DigestRequest::within`], the [`Bucket`] of the rows whose `KnownRow::hash`
    /// is in it: live rows that the stream contributes to, each once, with the hash
    /// of *its contribution* (of a row that several streams share, the one recorded
    /// for this stream beside it, not the row's own). Ranges without rows may be left
    /// out; the order of buckets is free. Hashes are those that were recorded: columns
    /// that somebody edited by hand are not noticed. Whatever makes `known` answer with
    /// another hash than the recorded one, or leave a row out, must do the same here:
    /// when in doubt, a row may be counted with a wrong hash (its bucket then differs,
    /// and its rows are asked for), but must not be left out silently.
    ///
    /// Everything that a comparison wants to know next comes in one call, so that a
    /// sink behind a slow link can ask for all of it at once. The streams named are
    /// ones that [`Sink::states`] knows, in the table it names. All answers together
    /// need not be one snapshot.
    ///
    /// In SQL, with `h` the hash: `count(*), bit_xor(h), sum((h >> 32)::int)` grouped by
    /// `(h >> (64 - bits)) & ((1 << bits) - 1)`, where zero bits are a case of their own
    /// (a shift by 64 is one by 0). The default reads `known` and adds up.
    ///
    /// # Errors
    /// When the sink is not reachable or cannot be read.
    fn digests(&self, wanted: Vec<DigestRequest>) -> impl Future<Output = Result<Vec<Vec<Bucket>>>> + Send {
        async move {
            let mut answers = Vec::with_capacity(wanted.len());
            for request in wanted {
                let mut digest = Digest::new(request.bits);
                let within = HashRanges::new(request.within);
                let mut known = self.known(&request.stream, &request.table);
                while let Some(rows) = known.next().await {
                    let hashes = rows?.into_iter().map(|row| row.hash);
                    hashes.filter(|hash| within.contain(*hash)).for_each(|hash| digest.add(hash));
                }
                answers.push(digest.into_buckets());
            }
            Ok(answers)
        }
    }

    /// Those rows of [`Sink::known`] whose hash is in one of `ranges`, in batches, in
    /// any order. The ranges are disjoint, and may be of different widths. A row whose
    /// hash is in none of them may be sent too.
    fn known_in(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        ranges: Vec<HashRange>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        let ranges = HashRanges::new(ranges);
        let inside = move |row: &KnownRow| ranges.contain(row.hash);
        self.known(stream, table).map(move |rows| rows.map(|rows| rows.into_iter().filter(&inside).collect())).boxed()
    }

    /// Starts a transaction on one table, for one stream.
    ///
    /// # Errors
    /// When the sink is not reachable or locked.
    fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> impl Future<Output = Result<Self::Txn>> + Send;

    /// Makes a delivery durable if nothing in it needs a decision. Over a slow link
    /// that is one round trip where [`Sink::begin`], [`SinkTxn::apply`] and
    /// [`SinkTxn::commit`] are three; sinks that gain nothing keep this default.
    ///
    /// # Errors
    /// As [`SinkTxn::commit`].
    fn push(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        delivery: Delivery,
    ) -> impl Future<Output = Result<Pushed<Self::Txn>>> + Send {
        step_by_step(self, stream, table, delivery)
    }

    /// How many deliveries may be on their way at once. Those of one stream are
    /// always given in order.
    fn lanes(&self) -> usize {
        1
    }

    /// How many of them may be of one stream: 1 unless the sink says otherwise, so that
    /// each is given when the one before it is done. A sink that takes more makes them
    /// durable in the order in which it was given them, and none whose predecessor it
    /// could not make durable.
    fn abreast(&self) -> usize {
        1
    }

    /// Keeps the account of a finished run.
    ///
    /// # Errors
    /// When the sink is not reachable.
    fn finish(&self, report: &Report) -> impl Future<Output = Result<()>> + Send;
}

/// One step of a delivery after the other: what [`Sink::push`] does unless a sink knows better.
pub(crate) async fn step_by_step<S: Sink + ?Sized>(
    sink: &S,
    stream: &StreamId,
    table: &Arc<TableSpec>,
    delivery: Delivery,
) -> Result<Pushed<S::Txn>> {
    let Delivery { changes, letters, checkpoint } = delivery;
    let mut txn = sink.begin(stream, table).await?;
    let applied = if changes.is_empty() { Applied::default() } else { txn.apply(changes).await? };
    if !applied.contested.is_empty() || !applied.refused.is_empty() {
        return Ok(Pushed::Contested { txn, applied, letters, checkpoint });
    }
    if !letters.is_empty() {
        txn.reject(letters).await?;
    }
    let committed = txn.commit(checkpoint).await?;
    Ok(Pushed::Committed(applied, committed))
}

/// One batch, all or nothing.
pub trait SinkTxn: Send {
    /// Applies what needs no decision: keys that the sink does not have, and live
    /// rows that are this stream's alone and have the hash that the change is based
    /// on, or its own content. Returns the rest with the row in its way, which
    /// stays locked: tombstones, and rows that other streams contribute to, too.
    ///
    /// A row with the change's own hash is left untouched, unless the change is based
    /// on that very hash: so a writer says that the stored columns are damaged.
    ///
    /// # Errors
    /// When the sink fails; nothing of the transaction then remains.
    fn apply(&mut self, changes: Vec<Change>) -> impl Future<Output = Result<Applied>> + Send;

    /// Writes decisions and keeps both images of what differed.
    ///
    /// # Errors
    /// As [`SinkTxn::apply`].
    fn resolve(&mut self, settled: Vec<Settled>) -> impl Future<Output = Result<()>> + Send;

    /// Keeps records that could not be stored; again is once.
    ///
    /// # Errors
    /// As [`SinkTxn::apply`].
    fn reject(&mut self, letters: Vec<DeadLetter>) -> impl Future<Output = Result<()>> + Send;

    /// Makes all of it durable, with the checkpoint; also when nothing but the
    /// checkpoint is new.
    ///
    /// # Errors
    /// When the outcome is not known to be durable; the next run finds out.
    fn commit(self, checkpoint: Checkpoint) -> impl Future<Output = Result<Committed>> + Send;
}
