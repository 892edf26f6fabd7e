//! The shape of hub tables: columns, their types and what they mean.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::conflict::PolicySpec;
use crate::{Error, ErrorKind, Identifier, Result};

/// What a hub column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// True or false; sources may write 0 and 1.
    Bool,
    /// A signed 64-bit integer.
    Int,
    /// A double.
    Float,
    /// Text without U+0000.
    Text,
    /// Bytes.
    Bytes,
    /// A JSON document that `jsonb` keeps whole.
    Json,
    /// A moment in microseconds, UTC.
    Timestamp,
    /// An embedding of exactly so many dimensions.
    Vector(u16),
}

/// What a column means to merging, searching and monitoring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Plain content: comes from whichever record wins.
    Content,
    /// Counts events; contributions add up.
    Counter,
    /// An average over events counted by the named column.
    Rate {
        /// The counter that weighs it.
        weight: Identifier,
    },
    /// How sure the agent is, 0 to 1.
    Confidence,
    /// When the record was made.
    CreatedAt,
    /// When the record last changed.
    UpdatedAt,
    /// A vector of this record's text.
    Embedding,
    /// Text that tells one record from another of the same id.
    SearchText,
}

/// One column of a hub table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ColumnSpec {
    /// Its name in the hub.
    pub name: Identifier,
    /// What it holds.
    pub kind: ColumnType,
    /// What it means.
    pub role: Role,
}

/// What happens in the hub when a record disappears from its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deletes {
    /// The row stays, marked with `deleted_at`.
    Tombstone,
    /// Nothing: the source forgets (expires, rotates), the hub remembers.
    Ignore,
}

/// Whether records may change after they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutability {
    /// A key's content may change.
    Mutable,
    /// What was written once stays as it is (events, experiences).
    Immutable,
}

/// Columns that every hub table has besides its own.
pub const COMMON_COLUMNS: [&str; 9] = [
    "source_env",
    "source",
    "stream",
    "extra",
    "content_hash",
    "sync_version",
    "merged_from",
    "deleted_at",
    "synced_at",
];

/// One hub table: its columns, key, and how its records meet.
#[derive(Clone, Debug)]
pub struct TableSpec {
    name: Identifier,
    columns: Vec<ColumnSpec>,
    key_columns: usize,
    name_order: Vec<usize>,
    deletes: Deletes,
    mutability: Mutability,
    policy: PolicySpec,
    text: Vec<usize>,
    digest: u64,
}

impl TableSpec {
    /// Starts a table; add key columns first.
    pub fn builder(name: &str) -> TableBuilder {
        TableBuilder {
            name: name.to_owned(),
            columns: Vec::new(),
            key_columns: 0,
            deletes: Deletes::Tombstone,
            mutability: Mutability::Mutable,
            policy: PolicySpec::default(),
            text: Vec::new(),
            problem: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &Identifier {
        &self.name
    }

    /// Its own columns, the key columns first.
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// The columns that, after `source_env`, make up the primary key.
    pub fn key_columns(&self) -> &[ColumnSpec] {
        &self.columns[..self.key_columns]
    }

    /// Where a column stands.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|spec| spec.name.as_str() == column)
    }

    /// Where the first column with this role stands.
    pub fn position_of_role(&self, wanted: &Role) -> Option<usize> {
        self.columns.iter().position(|spec| spec.role == *wanted)
    }

    /// What happens when a record disappears.
    pub fn deletes(&self) -> Deletes {
        self.deletes
    }

    /// Whether records may change.
    pub fn mutability(&self) -> Mutability {
        self.mutability
    }

    /// How conflicts end unless the configuration says otherwise.
    pub fn policy(&self) -> &PolicySpec {
        &self.policy
    }

    /// Where the columns stand whose text says what a record is about, in the order in which it
    /// is read: what search embeds. See [`crate::embed::text_of`].
    pub fn text_columns(&self) -> &[usize] {
        &self.text
    }

    /// A number that changes whenever a record could be converted differently.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Column positions in the order of their names: the hash must not depend
    /// on where the catalogue happens to list a column.
    pub(crate) fn name_order(&self) -> &[usize] {
        &self.name_order
    }
}

/// Builds a [`TableSpec`].
///
/// ```
/// use aqe_sync_core::{ColumnType, Role, TableSpec};
///
/// let table = TableSpec::builder("notes")
///     .key("id", ColumnType::Text)
///     .column("body", ColumnType::Text)
///     .role(Role::SearchText)
///     .build()?;
/// assert_eq!(table.key_columns().len(), 1);
/// # Ok::<(), aqe_sync_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TableBuilder {
    name: String,
    columns: Vec<ColumnSpec>,
    key_columns: usize,
    deletes: Deletes,
    mutability: Mutability,
    policy: PolicySpec,
    text: Vec<String>,
    problem: Option<String>,
}

impl TableBuilder {
    /// Adds a key column; all of them come before other columns.
    #[must_use]
    pub fn key(mut self, name: &str, kind: ColumnType) -> Self {
        if self.key_columns < self.columns.len() {
            self.note(format!("key column {name} comes after a plain column"));
        }
        if !matches!(kind, ColumnType::Text | ColumnType::Int) {
            self.note(format!("key column {name} is neither text nor integer"));
        }
        self = self.column(name, kind);
        self.key_columns = self.columns.len();
        self
    }

    /// Adds a column of plain content.
    #[must_use]
    pub fn column(mut self, name: &str, kind: ColumnType) -> Self {
        match Identifier::new(name) {
            Ok(_) if COMMON_COLUMNS.contains(&name) => self.note(format!("every table has a column {name} already")),
            Ok(_) if self.columns.iter().any(|column| column.name.as_str() == name) => {
                self.note(format!("column {name} is named twice"));
            }
            Ok(name) => self.columns.push(ColumnSpec { name, kind, role: Role::Content }),
            Err(error) => self.note(error.message().to_owned()),
        }
        self
    }

    /// Adds several columns of the same type.
    #[must_use]
    pub fn columns(self, kind: ColumnType, names: &[&str]) -> Self {
        names.iter().fold(self, |builder, name| builder.column(name, kind))
    }

    /// Gives the last column a role.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        match self.columns.last_mut() {
            Some(column) => column.role = role,
            None => self.note("a role needs a column before it".to_owned()),
        }
        self
    }

    /// Adds a rate that the named counter weighs.
    #[must_use]
    pub fn rate(mut self, name: &str, weight: &str) -> Self {
        match Identifier::new(weight) {
            Ok(weight) => self.column(name, ColumnType::Float).role(Role::Rate { weight }),
            Err(error) => {
                self.note(error.message().to_owned());
                self
            }
        }
    }

    /// Adds counters.
    #[must_use]
    pub fn counters(self, names: &[&str]) -> Self {
        names.iter().fold(self, |builder, name| builder.column(name, ColumnType::Int).role(Role::Counter))
    }

    /// Says what happens when a record disappears.
    #[must_use]
    pub fn deletes(mut self, deletes: Deletes) -> Self {
        self.deletes = deletes;
        self
    }

    /// Makes records unchangeable and deletes ignored.
    #[must_use]
    pub fn immutable(mut self) -> Self {
        self.mutability = Mutability::Immutable;
        self.deletes = Deletes::Ignore;
        self.policy = PolicySpec::Immutable;
        self
    }

    /// Says how conflicts end.
    #[must_use]
    pub fn policy(mut self, policy: PolicySpec) -> Self {
        self.policy = policy;
        self
    }

    /// Names the columns whose text says what a record is about, in the order in which it is
    /// read: columns of text or JSON, key columns included.
    #[must_use]
    pub fn text(mut self, columns: &[&str]) -> Self {
        self.text = columns.iter().map(|&name| name.to_owned()).collect();
        self
    }

    fn note(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// Checks and finishes the table.
    ///
    /// # Errors
    /// When it has no key, a name is unusable or used twice, a rate's
    /// counter does not exist, or a text column does not.
    pub fn build(self) -> Result<Arc<TableSpec>> {
        let invalid = |problem: String| Error::new(ErrorKind::Invalid, problem).context("table", &self.name);
        if let Some(problem) = self.problem.clone() {
            return Err(invalid(problem));
        }
        let name = Identifier::new(&self.name)?;
        if self.key_columns == 0 {
            return Err(invalid("a table needs a key column".to_owned()));
        }
        for column in &self.columns {
            let Role::Rate { weight } = &column.role else {
                continue;
            };
            if !self.columns.iter().any(|other| other.name == *weight) {
                return Err(invalid(format!("rate {} is weighed by {weight}, which does not exist", column.name)));
            }
        }
        let mut text = Vec::with_capacity(self.text.len());
        for name in &self.text {
            match self.columns.iter().position(|column| column.name.as_str() == name) {
                Some(position) if matches!(self.columns[position].kind, ColumnType::Text | ColumnType::Json) => {
                    text.push(position);
                }
                Some(_) => return Err(invalid(format!("text column {name} holds neither text nor JSON"))),
                None => return Err(invalid(format!("text column {name} does not exist"))),
            }
        }
        let mut name_order: Vec<usize> = (0..self.columns.len()).collect();
        name_order.sort_by(|a, b| self.columns[*a].name.cmp(&self.columns[*b].name));
        let digest = xxh3_64(format!("{:?}{:?}", self.columns, self.key_columns).as_bytes());
        Ok(Arc::new(TableSpec {
            name,
            columns: self.columns,
            key_columns: self.key_columns,
            name_order,
            deletes: self.deletes,
            mutability: self.mutability,
            policy: self.policy,
            text,
            digest,
        }))
    }
}

/// The fields that the records of one stream have, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    fields: Vec<Box<str>>,
}

impl Schema {
    /// Names the fields, in the order in which records give their values.
    pub fn new<I>(fields: I) -> Arc<Self>
    where
        I: IntoIterator,
        I::Item: Into<Box<str>>,
    {
        Arc::new(Self { fields: fields.into_iter().map(Into::into).collect() })
    }

    /// The names.
    pub fn fields(&self) -> &[Box<str>] {
        &self.fields
    }

    /// Where a field stands.
    pub fn position(&self, field: &str) -> Option<usize> {
        self.fields.iter().position(|name| &**name == field)
    }
}
