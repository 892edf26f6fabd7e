//! One row of a local table: inserted, changed where it differs, or taken out.

use aqe_sync_core::hash::same;
use aqe_sync_core::redact::Redact;
use aqe_sync_core::{Quoted, Row, Timestamp, Value};
use rusqlite::types::Value as Raw;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};
use xxhash_rust::xxh3::xxh3_64;

use super::format::{Formats, spell};
use super::layout::{Extra, Feed, LocalRow, Place, extra};

/// Why a row was not written.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It cannot be: nothing else is concerned.
    Row(String),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

type Written<T> = Result<T, Refusal>;

/// Writes rows of one place.
pub(super) struct Writer<'a> {
    pub(super) connection: &'a Connection,
    pub(super) place: &'a Place,
    pub(super) formats: &'a mut Formats,
    /// See [`super::work::Work::redact`].
    pub(super) redact: Option<&'a Redact>,
}

/// Columns with the values that they get.
type Cells = Vec<(usize, Raw)>;

impl Writer<'_> {
    /// Adds a row.
    pub(super) fn insert(&mut self, target: &Row) -> Written<()> {
        let members = extra(target);
        let mut cells = Vec::new();
        for position in 0..self.place.own {
            cells.extend(self.new_cell(position, target, &members)?.map(|raw| (position, raw)));
        }
        let id = cells.iter().find(|(position, _)| self.place.columns[*position].column.name == "id");
        let id = id.map(|(_, raw)| raw.clone());
        self.run_insert(self.place.table(), &self.named(&cells))?;
        match id {
            Some(id) => self.join(&id, target, &members),
            None => Ok(()),
        }
    }

    /// What a column of a new row gets; `None` to leave it to its default.
    fn new_cell(&mut self, position: usize, target: &Row, members: &Extra) -> Written<Option<Raw>> {
        if let Some(raw) = self.place.of_key(position, target) {
            return Ok(Some(raw));
        }
        let local = &self.place.columns[position];
        if local.feed == Feed::LocalId {
            return self.local_id(position, target);
        }
        let table = self.table_of(position).to_owned();
        let format = self.formats.of(self.connection, &table, &local.column)?;
        let value = self.place.wanted(position, target, members).unwrap_or(Value::Null);
        let raw = spell(value, format, None).map_err(|reason| self.misfit(position, &reason))?;
        if raw != Raw::Null || !local.column.required || local.column.default.is_some() {
            return Ok((raw != Raw::Null).then_some(raw));
        }
        let kind = match local.feed {
            Feed::Hub(column) => Some(self.place.hub.columns()[column].kind),
            _ => None,
        };
        match natural(kind, &local.column.declared) {
            Some(Natural::Now) => Ok(Some(format.now())),
            Some(Natural::Value(raw)) => Ok(Some(raw)),
            None => Err(self.misfit(position, "the file needs a value there, and the fleet has none")),
        }
    }

    /// An id for a row of a file that gives its rows ids of its own.
    fn local_id(&self, position: usize, target: &Row) -> Written<Option<Raw>> {
        let column = &self.place.columns[position].column;
        if column.declared.eq_ignore_ascii_case("integer") {
            return Ok(None);
        }
        if self.place.has_actions() {
            let now = Timestamp::now().as_micros();
            let random = xxh3_64(format!("{now} {:?}", target.hash).as_bytes());
            return Ok(Some(Raw::Text(format!("action-{}-{:08x}", now / 1_000, random >> 32))));
        }
        let given = self.place.hub.position("local_id").and_then(|position| target.values[position].as_text());
        let sql = format!("SELECT 1 FROM {} WHERE {} = ?1", Quoted(self.place.table()), Quoted(&column.name));
        let taken = |id: &str| self.connection.prepare_cached(&sql)?.exists([id]);
        if let Some(given) = given.filter(|id| !id.is_empty())
            && !taken(given)?
        {
            return Ok(Some(Raw::Text(given.to_owned())));
        }
        let key = target.key(&self.place.hub);
        Ok(Some(Raw::Text(format!("fleet-{:032x}", key.hash().0))))
    }

    /// Changes the columns that differ. `false` when none does.
    pub(super) fn update(&mut self, local: &LocalRow, target: &Row) -> Written<bool> {
        let (members, had) = (extra(target), extra(&local.row));
        let mut cells = Vec::new();
        for position in 0..self.place.own {
            if !self.place.primary.contains(&position) {
                cells.extend(self.changed_cell(position, local, &had, target, &members)?);
            }
        }
        if !cells.is_empty() {
            self.run_update(self.place.table(), &self.named(&cells), &self.handle(local))?;
        }
        Ok(self.update_joined(local, &had, target, &members)? || !cells.is_empty())
    }

    fn changed_cell(
        &mut self,
        position: usize,
        local: &LocalRow,
        had: &Extra,
        target: &Row,
        members: &Extra,
    ) -> Written<Option<(usize, Raw)>> {
        let Some(wanted) = self.place.wanted(position, target, members) else { return Ok(None) };
        let now = self.place.wanted(position, &local.row, had).unwrap_or(Value::Null);
        let column = &self.place.columns[position].column;
        // What the file fills in by itself it keeps.
        let kept = wanted.is_null() && (column.required || column.default.is_some());
        // The marker that stands for a credential in the hub does not replace it here.
        let marked = |redact: &Redact| redact.value(&now).is_some_and(|marked| same(&marked, &wanted));
        if kept || same(&now, &wanted) || self.redact.is_some_and(marked) {
            return Ok(None);
        }
        let table = self.table_of(position).to_owned();
        let format = self.formats.of(self.connection, &table, column)?;
        let old = &local.raw[position];
        let raw = spell(wanted, format, Some(old)).map_err(|reason| self.misfit(position, &reason))?;
        Ok((raw != *old).then_some((position, raw)))
    }

    /// The joined table's part of a row, which is there, or not, by itself.
    fn update_joined(&mut self, local: &LocalRow, had: &Extra, target: &Row, members: &Extra) -> Written<bool> {
        let Some((table, id)) = self.place.joined.clone() else { return Ok(false) };
        let Some(own_id) = self.id(local) else { return Ok(false) };
        let joined = self.place.own..self.place.columns.len();
        if local.raw[joined.clone()].iter().all(|raw| *raw == Raw::Null) {
            return self.join_counted(&own_id, target, members);
        }
        if self.embedding(target, members).is_none() {
            let sql = format!("DELETE FROM {} WHERE {} = ?1", Quoted(&table), Quoted(&id.name));
            self.connection.prepare_cached(&sql)?.execute([own_id])?;
            return Ok(true);
        }
        let mut cells = Vec::new();
        for position in joined {
            cells.extend(self.changed_cell(position, local, had, target, members)?);
        }
        if cells.is_empty() {
            return Ok(false);
        }
        self.run_update(&table, &self.named(&cells), &[(id.name, own_id)])?;
        Ok(true)
    }

    fn join(&mut self, id: &Raw, target: &Row, members: &Extra) -> Written<()> {
        self.join_counted(id, target, members).map(drop)
    }

    fn join_counted(&mut self, own_id: &Raw, target: &Row, members: &Extra) -> Written<bool> {
        let Some((table, id)) = self.place.joined.clone() else { return Ok(false) };
        let Some(dimensions) = self.embedding(target, members) else { return Ok(false) };
        let mut cells = Vec::new();
        for position in self.place.own..self.place.columns.len() {
            let column = &self.place.columns[position].column;
            let counted = column.required && column.name.starts_with("dim");
            let cell = match self.place.wanted(position, target, members) {
                None | Some(Value::Null) if counted => Some(Raw::Integer(dimensions)),
                _ => self.new_cell(position, target, members)?,
            };
            cells.extend(cell.map(|raw| (position, raw)));
        }
        let mut named = self.named(&cells);
        named.push((id.name, own_id.clone()));
        self.run_insert(&table, &named)?;
        Ok(true)
    }

    /// How many dimensions the embedding has that goes to the joined table.
    fn embedding(&self, target: &Row, members: &Extra) -> Option<i64> {
        let wanted = (self.place.own..self.place.columns.len())
            .filter_map(|position| self.place.wanted(position, target, members));
        wanted.into_iter().find_map(|value| match value {
            Value::Vector(numbers) => i64::try_from(numbers.len()).ok(),
            _ => None,
        })
    }

    /// Takes a row out.
    pub(super) fn delete(&self, local: &LocalRow) -> Written<()> {
        if let Some(((table, id), own_id)) = self.place.joined.as_ref().zip(self.id(local)) {
            let sql = format!("DELETE FROM {} WHERE {} = ?1", Quoted(table), Quoted(&id.name));
            self.connection.prepare_cached(&sql)?.execute([own_id])?;
        }
        let handle = self.handle(local);
        let sql = format!("DELETE FROM {} WHERE {}", Quoted(self.place.table()), matching(&handle, 0));
        let values = handle.iter().map(|(_, raw)| raw);
        match self.connection.prepare_cached(&sql)?.execute(params_from_iter(values))? {
            1 => Ok(()),
            _ => Err(Refusal::Row("the file did not let it be taken out".to_owned())),
        }
    }

    fn run_insert(&self, table: &str, cells: &[(String, Raw)]) -> Written<()> {
        let names: Vec<String> = cells.iter().map(|(name, _)| Quoted(name).to_string()).collect();
        let marks: Vec<String> = (1..=cells.len()).map(|number| format!("?{number}")).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", Quoted(table), names.join(", "), marks.join(", "));
        let mut statement = self.connection.prepare_cached(&sql)?;
        match statement.execute(params_from_iter(cells.iter().map(|(_, raw)| raw))) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explained(table, cells, error)),
        }
    }

    fn run_update(&self, table: &str, cells: &[(String, Raw)], handle: &[(String, Raw)]) -> Written<()> {
        let sets = cells.iter().enumerate().map(|(number, (name, _))| format!("{} = ?{}", Quoted(name), number + 1));
        let sets = sets.collect::<Vec<_>>().join(", ");
        let sql = format!("UPDATE {} SET {sets} WHERE {}", Quoted(table), matching(handle, cells.len()));
        let values = cells.iter().chain(handle).map(|(_, raw)| raw);
        match self.connection.prepare_cached(&sql)?.execute(params_from_iter(values)) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explained(table, cells, error)),
        }
    }

    /// A row that is in the way is named, and stays.
    fn explained(&self, table: &str, cells: &[(String, Raw)], error: rusqlite::Error) -> Refusal {
        let message = error.to_string();
        let Some((_, columns)) = message.split_once("UNIQUE constraint failed: ") else {
            return Refusal::Sqlite(error);
        };
        let columns: Vec<&str> =
            columns.split(", ").filter_map(|column| column.rsplit_once('.').map(|(_, name)| name)).collect();
        let clash: Vec<(String, Raw)> =
            cells.iter().filter(|(name, _)| columns.contains(&name.as_str())).cloned().collect();
        let Some(key) = self.place.primary.first().map(|position| &self.place.columns[*position].column.name) else {
            return Refusal::Sqlite(error);
        };
        let sql = format!("SELECT {} FROM {} WHERE {}", Quoted(key), Quoted(table), matching(&clash, 0));
        let values = params_from_iter(clash.iter().map(|(_, raw)| raw));
        let other = self.connection.query_row(&sql, values, |row| row.get::<_, Raw>(0)).optional();
        let named = match other {
            Ok(Some(Raw::Text(id))) => format!(" ({key} {id})"),
            Ok(Some(Raw::Integer(id))) => format!(" ({key} {id})"),
            _ => String::new(),
        };
        Refusal::Row(format!(
            "the file has another record{named} with the same {}, and keeps it; rename or delete that one to take this one",
            columns.join(", ")
        ))
    }

    fn named(&self, cells: &Cells) -> Vec<(String, Raw)> {
        let named =
            cells.iter().map(|(position, raw)| (self.place.columns[*position].column.name.clone(), raw.clone()));
        named.collect()
    }

    /// The primary key of a row, with its values.
    fn handle(&self, local: &LocalRow) -> Vec<(String, Raw)> {
        let cells: Cells =
            self.place.primary.iter().map(|position| (*position, local.raw[*position].clone())).collect();
        self.named(&cells)
    }

    /// The column by which the joined table names a row.
    fn id(&self, local: &LocalRow) -> Option<Raw> {
        let position = self.place.columns[..self.place.own].iter().position(|local| local.column.name == "id")?;
        Some(local.raw[position].clone())
    }

    fn table_of(&self, position: usize) -> &str {
        match &self.place.joined {
            Some((joined, _)) if position >= self.place.own => joined,
            _ => self.place.table(),
        }
    }

    fn misfit(&self, position: usize, reason: &str) -> Refusal {
        Refusal::Row(format!("column {}: {reason}", self.place.columns[position].column.name))
    }
}

/// `"a" IS ?1 AND …`, counting on from `after`.
fn matching(cells: &[(String, Raw)], after: usize) -> String {
    let parts =
        cells.iter().enumerate().map(|(number, (name, _))| format!("{} IS ?{}", Quoted(name), after + number + 1));
    parts.collect::<Vec<_>>().join(" AND ")
}

enum Natural {
    Now,
    Value(Raw),
}

/// What a column that must have a value gets where nobody has one.
fn natural(kind: Option<aqe_sync_core::ColumnType>, declared: &str) -> Option<Natural> {
    use aqe_sync_core::ColumnType;
    let text = |text: &str| Some(Natural::Value(Raw::Text(text.to_owned())));
    let declared = declared.to_ascii_lowercase();
    match kind {
        Some(ColumnType::Timestamp) => Some(Natural::Now),
        Some(ColumnType::Json) => text("{}"),
        Some(ColumnType::Text) => text(""),
        Some(ColumnType::Int | ColumnType::Bool) => Some(Natural::Value(Raw::Integer(0))),
        Some(ColumnType::Float) => Some(Natural::Value(Raw::Real(0.0))),
        None if declared.contains("int") => Some(Natural::Value(Raw::Integer(0))),
        None if declared.contains("real") || declared.contains("float") => Some(Natural::Value(Raw::Real(0.0))),
        None if declared.contains("text") || declared.contains("char") => text(""),
        _ => None,
    }
}
