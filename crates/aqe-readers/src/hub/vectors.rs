//! Vectors of the embedded hub's rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use aqe_sync_core::aside::{vector_from_bytes, vector_to_bytes};
use aqe_sync_core::embed::{
    Candidate, Embedded, Filter, Near, Nearest, Place, Standing, TextHash, VectorHub, WordHits, Worded,
};
use aqe_sync_core::{Environment, Key, Result, TableSpec};
use futures::stream::BoxStream;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::blocks::{Blocks, Slots};
use super::code::{Candidates, CodedQuestion};
use super::fleet::{AUDIT, contribution, exists};
use super::txn::Failure;
use super::{EmbeddedHub, Sending, convert};

/// So many rows are sent at once.
const BATCH: usize = 1_024;

impl VectorHub for EmbeddedHub {
    async fn embedded(&self, model: &str) -> Result<Standing> {
        let model = model.to_owned();
        self.look(move |connection| {
            let mut standing = Standing::default();
            let sql = "SELECT table_name, source_env, reached FROM vector_places WHERE model = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([model])?;
            while let Some(row) = rows.next()? {
                let (table, environment): (String, String) = (row.get(0)?, row.get(1)?);
                standing.reached.entry(table).or_default().set(environment.as_str().into(), row.get(2)?);
            }
            Ok(standing)
        })
        .await
    }

    fn may_embed(&self, _: &Environment) -> bool {
        true
    }

    fn changed_rows(
        &self,
        model: &str,
        table: &Arc<TableSpec>,
        environment: &Environment,
        since: i64,
    ) -> BoxStream<'static, Result<Vec<Candidate>>> {
        let (model, table, environment) = (model.to_owned(), Arc::clone(table), environment.clone());
        self.stream("embedded hub rows", move |connection, sending| {
            changed_rows(connection, &model, &table, &environment, since, sending)
        })
    }

    async fn vectors_of_texts(&self, model: &str, texts: Vec<TextHash>) -> Result<HashMap<TextHash, Vec<f32>>> {
        let model = model.to_owned();
        self.look(move |connection| {
            let sql = "SELECT v.vector FROM vectors AS v JOIN vector_places AS p ON p.id = v.place \
                       WHERE v.text_hash = ?1 AND p.model = ?2 LIMIT 1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut found = HashMap::new();
            for text in texts {
                let vector: Option<Vec<u8>> =
                    statement.query_row(params![text.0.to_be_bytes(), model], |row| row.get(0)).optional()?;
                if let Some(vector) = vector.as_deref().and_then(vector_from_bytes) {
                    found.insert(text, vector);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn keep_vectors(
        &self,
        model: &str,
        table: &Arc<TableSpec>,
        environment: &Environment,
        rows: Vec<Embedded>,
        reached: Option<i64>,
    ) -> Result<()> {
        let (model, table, environment) = (model.to_owned(), table.name().clone(), environment.clone());
        let _turn = self.turn.lock().await;
        self.worker
            .call(move |state| {
                keep(&mut state.connection, &model, table.as_str(), &environment, &rows, reached)
                    .map_err(|failure| convert(failure, &state.name, "writing vectors to"))
            })
            .await
    }

    async fn nearest(&self, query: Nearest) -> Result<Vec<Near>> {
        self.look(move |connection| nearest(connection, &query)).await
    }

    async fn with_words(&self, model: &str, words: Vec<String>, filter: Filter, limit: u64) -> Result<WordHits> {
        let model = model.to_owned();
        self.look(move |connection| with_words(connection, &model, &words, &filter, limit)).await
    }

    async fn vectors_of(&self, model: &str, table: &str, keys: Vec<Key>) -> Result<Vec<Near>> {
        let filter = Filter { tables: BTreeSet::from([table.to_owned()]), ..Filter::default() };
        let model = model.to_owned();
        self.look(move |connection| {
            let places = Places::read(connection, &model, &filter)?;
            let mut statement = connection
                .prepare_cached("SELECT place, key, vector FROM vectors WHERE key_hash = ?1 ORDER BY place")?;
            let mut found = Vec::new();
            for key in keys {
                let mut rows = statement.query([key.hash().0.to_be_bytes()])?;
                while let Some(row) = rows.next()? {
                    found.extend(places.near(row)?);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn models(&self) -> Result<Vec<(String, u64)>> {
        self.look(|connection| {
            let sql = "SELECT model, vectors FROM vector_places";
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                *counts.entry(row.get(0)?).or_default() += row.get::<_, u64>(1)?;
            }
            let mut models: Vec<(String, u64)> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
            models.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            Ok(models)
        })
        .await
    }

    fn vectors(&self, model: &str, filter: Filter) -> BoxStream<'static, Result<Vec<Near>>> {
        let model = model.to_owned();
        self.stream("embedded hub vectors", move |connection, sending| {
            let places = Places::read(connection, &model, &filter)?;
            let mut batch = Vec::with_capacity(BATCH);
            let sql = format!("SELECT place, key, vector FROM vectors WHERE place IN ({})", places.list());
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                batch.extend(places.near(row)?);
                if batch.len() >= BATCH && !sending.send(std::mem::take(&mut batch)) {
                    return Ok(());
                }
            }
            sending.send(batch);
            Ok(())
        })
    }

    async fn known_recall(&self, model: &str) -> Result<Option<f64>> {
        let key = recall_key(model);
        self.look(move |connection| {
            let sql = "SELECT value FROM hub_info WHERE key = ?1";
            let said: Option<String> = connection.query_row(sql, [key], |row| row.get(0)).optional()?;
            Ok(said.and_then(|said| said.parse().ok()))
        })
        .await
    }

    async fn remember_recall(&self, model: &str, recall: f64) -> Result<bool> {
        let key = recall_key(model);
        let _turn = self.turn.lock().await;
        self.worker
            .call(move |state| {
                let sql = "INSERT OR REPLACE INTO hub_info (key, value) VALUES (?1, ?2)";
                let kept = state.connection.execute(sql, [key, recall.to_string()]);
                kept.map(|_| true).map_err(|error| super::hub_error(&state.name, "writing to", error))
            })
            .await
    }
}

fn recall_key(model: &str) -> String {
    format!("vector_recall {model}")
}

/// Of which table and environment rows are that have a place's number.
struct Places(BTreeMap<i64, (String, Environment)>);

impl Places {
    fn read(connection: &Connection, model: &str, filter: &Filter) -> rusqlite::Result<Self> {
        let sql = "SELECT id, table_name, source_env FROM vector_places WHERE model = ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([model])?;
        let mut places = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (table, environment): (String, String) = (row.get(1)?, row.get(2)?);
            let environment = Environment::from(environment.as_str());
            if filter.takes(&table, &environment) {
                places.insert(row.get(0)?, (table, environment));
            }
        }
        Ok(Self(places))
    }

    /// From `place, key`.
    fn place(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Place>> {
        let (id, key): (i64, String) = (row.get(0)?, row.get(1)?);
        let place = self.0.get(&id).zip(Key::from_json(&key));
        Ok(place.map(|((table, environment), key)| Place {
            table: table.clone(),
            environment: environment.clone(),
            key,
        }))
    }

    /// From `place, key, vector`.
    fn near(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Near>> {
        let vector = vector_from_bytes(row.get_ref(2)?.as_blob()?);
        Ok(self.place(row)?.zip(vector).map(|(place, vector)| Near { place, vector }))
    }

    /// Their numbers, for `IN (…)`.
    fn list(&self) -> String {
        self.0.keys().map(i64::to_string).collect::<Vec<_>>().join(", ")
    }
}

fn changed_rows(
    connection: &Connection,
    model: &str,
    table: &TableSpec,
    environment: &Environment,
    since: i64,
    sending: &mut Sending<Vec<Candidate>>,
) -> Result<(), Failure> {
    if !exists(connection, table)? {
        return Ok(());
    }
    let place: Option<i64> = connection
        .query_row(
            "SELECT id FROM vector_places WHERE model = ?1 AND table_name = ?2 AND source_env = ?3",
            [model, table.name().as_str(), environment.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    let columns: Vec<String> = table.columns().iter().map(|column| format!("t.{}", column.name.quoted())).collect();
    let sql = format!(
        "SELECT t.source_env, t.sync_version, t.deleted_at IS NOT NULL, t.content_hash, t.extra, {} FROM {} AS t \
         WHERE t.source_env = ?1 AND t.sync_version > ?2 AND t.source <> '{AUDIT}' ORDER BY t.sync_version",
        columns.join(", "),
        table.name().quoted()
    );
    let mut statement = connection.prepare(&sql)?;
    let mut known = connection.prepare("SELECT text_hash FROM vectors WHERE place = ?1 AND key_hash = ?2")?;
    let mut rows = statement.query(params![environment.as_str(), since])?;
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.next()? {
        let row = contribution(table, row)?;
        let key = row.row.key(table);
        let hash = key.hash().0.to_be_bytes();
        let text: Option<[u8; 16]> = known.query_row(params![place, hash], |row| row.get(0)).optional()?;
        let known = text.map(|text| TextHash(u128::from_be_bytes(text)));
        batch.push(Candidate { key, version: row.version, row: (!row.deleted).then_some(row.row), known });
        if batch.len() == BATCH && !sending.send(std::mem::take(&mut batch)) {
            return Ok(());
        }
    }
    sending.send(batch);
    Ok(())
}

fn keep(
    connection: &mut Connection,
    model: &str,
    table: &str,
    environment: &Environment,
    rows: &[Embedded],
    reached: Option<i64>,
) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let place: i64 = transaction.query_row(
        "INSERT INTO vector_places (model, table_name, source_env, reached) VALUES (?1, ?2, ?3, coalesce(?4, 0)) \
         ON CONFLICT (model, table_name, source_env) DO UPDATE SET reached = max(reached, coalesce(?4, 0)) RETURNING id",
        params![model, table, environment.as_str(), reached],
        |row| row.get(0),
    )?;
    let mut slots = Slots::of(&transaction, place)?;
    for row in rows {
        let hash = row.key.hash().0.to_be_bytes();
        let known = known(&transaction, place, &hash)?;
        match (&row.content, known) {
            (None, None) => {}
            (None, Some(known)) => {
                forget_words(&transaction, place, &known)?;
                transaction.prepare_cached("DELETE FROM vectors WHERE id = ?1")?.execute([known.id])?;
                slots.remove(known.slot)?;
            }
            (Some((text, vector)), known) => {
                if let Some(known) = &known {
                    forget_words(&transaction, place, known)?;
                    transaction.prepare_cached("DELETE FROM vectors WHERE id = ?1")?.execute([known.id])?;
                }
                let slot = known.map_or_else(|| slots.next(), |known| known.slot);
                let id = add(&transaction, place, slot, row, *text, vector)?;
                slots.put(slot, id, vector)?;
            }
        }
    }
    slots.finish()?;
    Ok(transaction.commit()?)
}

/// What is kept for a key already.
struct Known {
    id: i64,
    slot: u64,
    words: String,
}

fn known(connection: &Connection, place: i64, key: &[u8; 16]) -> rusqlite::Result<Option<Known>> {
    let sql = "SELECT id, slot, words FROM vectors WHERE place = ?1 AND key_hash = ?2";
    connection
        .prepare_cached(sql)?
        .query_row(params![place, key], |row| Ok(Known { id: row.get(0)?, slot: row.get(1)?, words: row.get(2)? }))
        .optional()
}

fn forget_words(connection: &Connection, place: i64, known: &Known) -> rusqlite::Result<()> {
    let sql = "DELETE FROM vector_words WHERE word = ?1 AND place = ?2 AND id = ?3";
    let mut forget = connection.prepare_cached(sql)?;
    for word in serde_json::from_str::<Vec<String>>(&known.words).unwrap_or_default() {
        forget.execute(params![word, place, known.id])?;
    }
    Ok(())
}

/// Adds a vector and says its id.
fn add(
    connection: &Connection,
    place: i64,
    slot: u64,
    row: &Embedded,
    text: TextHash,
    vector: &[f32],
) -> rusqlite::Result<i64> {
    let mut occurs: BTreeMap<&str, u32> = BTreeMap::new();
    for word in &row.words {
        *occurs.entry(word).or_default() += 1;
    }
    let words = serde_json::Value::from(occurs.keys().copied().collect::<Vec<_>>()).to_string();
    let (key, text, hash) = (row.key.to_json(), text.0.to_be_bytes(), row.key.hash().0.to_be_bytes());
    let id: i64 = connection
        .prepare_cached(
            "INSERT INTO vectors (place, slot, key_hash, key, text_hash, words, word_count, vector) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id",
        )?
        .query_row(params![place, slot, hash, key, text, words, row.words.len(), vector_to_bytes(vector)], |row| {
            row.get(0)
        })?;
    let mut add =
        connection.prepare_cached("INSERT INTO vector_words (word, place, id, occurs) VALUES (?1, ?2, ?3, ?4)")?;
    for (word, occurs) in occurs {
        add.execute(params![word, place, id, occurs])?;
    }
    Ok(id)
}

fn nearest(connection: &Connection, query: &Nearest) -> Result<Vec<Near>, Failure> {
    let places = Places::read(connection, &query.model, &query.filter)?;
    let ids = if query.exact { None } else { Some(candidates(connection, &places, query)?) };
    let dot =
        |vector: &[f32]| -> f64 { vector.iter().zip(&query.vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let mut found: Vec<(f64, Near)> = Vec::new();
    let mut look = |row: &rusqlite::Row<'_>| -> rusqlite::Result<()> {
        if let Some(near) = places.near(row)?.filter(|near| near.vector.len() == query.vector.len()) {
            found.push((dot(&near.vector), near));
        }
        if found.len() > 4 * query.limit + 4_096 {
            found.sort_by(|a, b| b.0.total_cmp(&a.0));
            found.truncate(query.limit);
        }
        Ok(())
    };
    if let Some(ids) = ids {
        let mut statement = connection.prepare_cached("SELECT place, key, vector FROM vectors WHERE id = ?1")?;
        for id in ids {
            let mut rows = statement.query([id])?;
            while let Some(row) = rows.next()? {
                look(row)?;
            }
        }
    } else {
        let sql = format!("SELECT place, key, vector FROM vectors WHERE place IN ({})", places.list());
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            look(row)?;
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(query.limit);
    Ok(found.into_iter().map(|(_, near)| near).collect())
}

/// Which rows may be among the nearest: all codes are looked at.
fn candidates(connection: &Connection, places: &Places, query: &Nearest) -> rusqlite::Result<Vec<i64>> {
    let question = CodedQuestion::new(&query.vector);
    let mut candidates = Candidates::new(query.limit);
    let mut blocks = Blocks::of(connection)?;
    for place in places.0.keys() {
        blocks.each(*place, |id, code| {
            if let Some((near, wrong)) = question.compare(code) {
                candidates.add(near, wrong, id);
            }
        })?;
    }
    Ok(candidates.ids())
}

fn with_words(
    connection: &Connection,
    model: &str,
    words: &[String],
    filter: &Filter,
    limit: u64,
) -> Result<WordHits, Failure> {
    let all = Places::read(connection, model, &Filter::default())?;
    let wanted = Places::read(connection, model, filter)?;
    let count = format!(
        "SELECT count(*) FROM (SELECT 1 FROM vector_words WHERE word = ?1 AND place IN ({}) LIMIT ?2)",
        all.list()
    );
    let find = format!("SELECT id, occurs FROM vector_words WHERE word = ?1 AND place IN ({})", wanted.list());
    let (mut count, mut find) = (connection.prepare(&count)?, connection.prepare(&find)?);
    let mut hits = WordHits::default();
    let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (position, word) in words.iter().enumerate() {
        let occurrences: u64 = count.query_row(params![word, limit], |row| row.get(0))?;
        hits.occurrences.push(occurrences);
        if occurrences >= limit {
            continue;
        }
        let mut found = find.query([word])?;
        while let Some(row) = found.next()? {
            let counts = rows.entry(row.get(0)?).or_insert_with(|| vec![0; words.len()]);
            counts[position] = row.get(1)?;
        }
    }
    let mut statement = connection.prepare_cached("SELECT place, key, word_count FROM vectors WHERE id = ?1")?;
    for (id, counts) in rows {
        let mut found = statement.query([id])?;
        if let Some(row) = found.next()?
            && let Some(place) = wanted.place(row)?
        {
            hits.rows.push(Worded { place, length: row.get(2)?, counts });
        }
    }
    Ok(hits)
}
