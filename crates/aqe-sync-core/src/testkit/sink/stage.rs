//! What the checks of a sink share: streams, changes, deliveries, and what is found afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::super::violation::{Checked, Rule, Violation, done};
use super::SinkCase;
use crate::digest::{Bucket, Digest, DigestRequest, HashRange};
use crate::meet::{Contested, Ranking, Settled, settle};
use crate::{
    Applied, Change, Checkpoint, ColumnType, ContentHash, DeadLetter, Delivery, Environment, Json, KnownRow, Operation,
    PolicySpec, Pushed, Row, Sink, SinkTxn, StreamId, StreamState, TableSpec, Timestamp, Value,
};

pub(super) struct Stage<'c, 'a, S> {
    pub(super) case: &'c SinkCase<'a, S>,
    pub(super) sink: S,
    /// Tells this check from all others.
    run: String,
    pub(super) notes: Arc<TableSpec>,
}

/// Everything that the sink tells about one stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    rows: BTreeMap<String, ContentHash>,
    recomputed: BTreeMap<String, ContentHash>,
    digest: Vec<Bucket>,
    state: Option<StreamState>,
}

impl Told {
    pub(super) fn rows(&self) -> &BTreeMap<String, ContentHash> {
        &self.rows
    }

    pub(super) fn sequence(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.sequence)
    }

    pub(super) fn state(&self) -> Option<&StreamState> {
        self.state.as_ref()
    }
}

impl<'c, 'a, S: Sink> Stage<'c, 'a, S> {
    pub(super) async fn open(case: &'c SinkCase<'a, S>, checked: &mut Checked) -> Result<Self, Violation> {
        let sink = (case.open)().await;
        let rule = Rule::HasSomethingToCheck;
        let notes = done(rule, "making a table", table("testkit_notes"))?;
        done(rule, "preparing a table", sink.prepare(&notes).await)?;
        done(rule, "preparing it again", sink.prepare(&notes).await)?;
        let (one, other) = (sink.identity().await, (case.open)().await.identity().await);
        let (one, other) = (done(rule, "asking who it is", one)?, done(rule, "asking who it is", other)?);
        checked.hold(rule, one == other, || {
            format!("`open` gives other stores each time, {one} and {other}: it has to open the same one")
        })?;
        let run = uuid::Uuid::new_v4().simple().to_string();
        Ok(Self { case, sink, run, notes })
    }

    pub(super) fn stream(&self, what: &str, source: &str) -> StreamId {
        let environment = Environment::new(format!("testkit {what} {}", self.run));
        StreamId { environment, source: source.into(), stream: "notes".into() }
    }

    pub(super) async fn other(&self) -> S {
        (self.case.open)().await
    }

    /// Asks in every way there is; all answers have to agree.
    pub(super) async fn told(
        &self,
        sink: &S,
        id: &StreamId,
        table: &Arc<TableSpec>,
        checked: &mut Checked,
    ) -> Result<Told, Violation> {
        let rule = Rule::AnswersAgree;
        let known = collect(sink.known(id, table), rule).await?;
        let recomputed = collect(sink.recomputed(id, table), rule).await?;
        let rows: BTreeMap<_, _> = known.iter().map(|row| (row.key.to_string(), row.hash)).collect();
        checked.hold(rule, rows.len() == known.len(), || "`known` gives a row more than once".to_owned())?;
        let mut digest = Vec::new();
        for bits in [0, 4] {
            let mut wanted = Digest::new(bits);
            for row in &known {
                wanted.add(row.hash);
            }
            let wanted = wanted.into_buckets();
            let request =
                DigestRequest { stream: id.clone(), table: Arc::clone(table), within: vec![HashRange::ALL], bits };
            let answers = done(rule, "asking for digests", sink.digests(vec![request.clone(), request]).await)?;
            checked.hold(rule, answers.len() == 2, || format!("{} digests for 2 requests", answers.len()))?;
            for answer in answers {
                let mut answer: Vec<Bucket> = answer.into_iter().filter(|bucket| bucket.count > 0).collect();
                answer.sort_by_key(|bucket| bucket.range);
                checked.hold(rule, answer == wanted, || {
                    format!("`digests` says {answer:?}, what `known` gives adds up to {wanted:?}")
                })?;
                digest = answer;
            }
        }
        let hashes: Vec<ContentHash> = rows.values().copied().collect();
        let by_hash = collect(sink.keys_of(id, table, hashes), rule).await?;
        let inside = collect(sink.known_in(id, table, vec![HashRange::ALL]), rule).await?;
        for (found, whose) in [(by_hash, "keys_of"), (inside, "known_in")] {
            let found: BTreeMap<_, _> = found.iter().map(|row| (row.key.to_string(), row.hash)).collect();
            let lacking = rows.iter().find(|(key, _)| !found.contains_key(*key));
            checked
                .hold(rule, lacking.is_none(), || format!("`{whose}` leaves out {lacking:?}, which `known` gives"))?;
        }
        let states = done(rule, "asking for states", sink.states(&id.environment).await)?;
        let state = states.into_iter().find(|state| state.stream == *id);
        let recomputed = recomputed.into_iter().map(|row| (row.key.to_string(), row.hash)).collect();
        Ok(Told { rows, recomputed, digest, state })
    }

    pub(super) async fn push(
        &self,
        rule: Rule,
        sink: &S,
        id: &StreamId,
        table: &Arc<TableSpec>,
        changes: Vec<Change>,
    ) -> Result<Pushed<S::Txn>, Violation> {
        let delivery = Delivery { changes, letters: Vec::new(), checkpoint: checkpoint("run", false) };
        done(rule, "pushing", sink.push(id, table, delivery).await)
    }

    /// Pushes what nobody can object to.
    pub(super) async fn deliver(
        &self,
        rule: Rule,
        id: &StreamId,
        table: &Arc<TableSpec>,
        changes: Vec<Change>,
    ) -> Result<(Applied, u64), Violation> {
        match self.push(rule, &self.sink, id, table, changes).await? {
            Pushed::Committed(applied, committed) => Ok((applied, committed.sequence)),
            Pushed::Contested { applied, .. } => {
                Err(Violation::new(rule, format!("changes that need no decision were {}", objections(&applied))))
            }
        }
    }

    /// Pushes, and settles what is contested, as the engine does.
    pub(super) async fn settle(
        &self,
        rule: Rule,
        id: &StreamId,
        table: &Arc<TableSpec>,
        changes: Vec<Change>,
        policy: &PolicySpec,
    ) -> Result<Applied, Violation> {
        match self.push(rule, &self.sink, id, table, changes).await? {
            Pushed::Committed(applied, _) => Ok(applied),
            Pushed::Contested { mut txn, applied, letters, checkpoint } => {
                let settled = settled(table, id, applied.contested.clone(), policy);
                done(rule, "resolving", txn.resolve(settled).await)?;
                done(rule, "keeping letters", txn.reject(letters).await)?;
                done(rule, "committing", txn.commit(checkpoint).await)?;
                Ok(applied)
            }
        }
    }
}

pub(super) fn settled(
    table: &TableSpec,
    id: &StreamId,
    contested: Vec<Contested>,
    policy: &PolicySpec,
) -> Vec<Settled> {
    let ranking = Ranking { writer: id.contributor(), priority_of: &|_| None };
    contested.into_iter().map(|one| settle(table, policy, &ranking, one)).collect()
}

pub(super) fn objections(applied: &Applied) -> String {
    let contested = applied.contested.iter().map(|one| format!("contested ({})", one.change.key));
    let refused = applied.refused.iter().map(|(change, why)| format!("refused ({}: {why})", change.key));
    contested.chain(refused).take(5).collect::<Vec<_>>().join(", ")
}

pub(super) async fn collect(
    mut rows: BoxStream<'static, crate::Result<Vec<KnownRow>>>,
    rule: Rule,
) -> Result<Vec<KnownRow>, Violation> {
    let mut all = Vec::new();
    while let Some(rows) = rows.next().await {
        all.extend(done(rule, "reading what is known", rows)?);
    }
    Ok(all)
}

pub(super) fn table(name: &str) -> crate::Result<Arc<TableSpec>> {
    TableSpec::builder(name)
        .key("id", ColumnType::Text)
        .column("body", ColumnType::Text)
        .column("details", ColumnType::Json)
        .build()
}

pub(super) fn checkpoint(run: &str, complete: bool) -> Checkpoint {
    let at = Timestamp::parse("2026-01-02T03:04:05.678901Z").unwrap_or_else(Timestamp::now);
    Checkpoint { run_id: run.to_owned(), at, complete, instance: "testkit".into() }
}

pub(super) fn note(table: &TableSpec, key: &str, body: &str) -> Row {
    let details = Value::Json(Json::from_text(format!("{{\"of\": \"{key}\", \"n\": 1.0}}")));
    Row::new(table, vec![key.into(), body.into(), details], None)
}

pub(super) fn upsert(table: &TableSpec, row: Row, base: Option<ContentHash>) -> Change {
    Change { key: row.key(table), operation: Operation::Upsert(row), base }
}

pub(super) fn deletion(table: &TableSpec, row: &Row, base: Option<ContentHash>) -> Change {
    Change { key: row.key(table), operation: Operation::Delete, base }
}

pub(super) fn letter(key: &str) -> DeadLetter {
    let record = Json::from_text(format!("{{\"key\":\"{key}\"}}"));
    DeadLetter { key: key.to_owned(), reason: "nobody can store it".to_owned(), record }
}
