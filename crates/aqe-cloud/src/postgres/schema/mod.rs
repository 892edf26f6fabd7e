//! The hub's schema: made from the catalogue, upgraded by number, opened in one round trip.
//!
//! ```no_run
//! use aqe_cloud::postgres::schema::{self, Mode, Setup};
//! use aqe_sync_core::{Identifier, tables};
//!
//! # async fn example(client: &tokio_postgres::Client) -> aqe_sync_core::Result<()> {
//! let name = Identifier::new("aqe")?;
//! let mut hub = schema::open(client, &name, Mode::Create(&Setup::default())).await?;
//! hub.prepare(client, tables::all()).await?;
//! println!("{} keeps vectors in {}", hub.id(), hub.flavour().kind().as_str());
//! # Ok(())
//! # }
//! ```
//!
//! | catalogue | PostgreSQL |
//! |---|---|
//! | `Bool` | `boolean` |
//! | `Int` | `bigint` |
//! | `Float` | `double precision` |
//! | `Text` | `text` |
//! | `Bytes` | `bytea` |
//! | `Json` | `jsonb` |
//! | `Timestamp` | `timestamp with time zone` |
//! | `Vector(n)` | `ruvector(n)` with a CHECK, `vector(n)`, or `real[]` with a CHECK |

mod ddl;
mod detect;
mod flavour;
pub(super) mod guard;
mod migrate;
mod prepare;
mod present;
mod refusal;
mod script;
mod views;
mod writer;

use std::sync::Arc;

use aqe_sync_core::{Error, ErrorKind, Identifier, Quoted, Result, TableSpec, failpoint, tables};
use tokio_postgres::{Client, Error as Cause};

pub use ddl::{MAX_KEY_BYTES, create_table, key_fits};
pub(super) use ddl::{literal, sql_type};
pub use flavour::{Extension, Flavour, VectorKind};
pub(super) use guard::{ENVIRONMENTS, READ_ONLY};
pub(super) use migrate::lock;
pub use present::{Columns, Present, PresentColumn};
pub use script::script;
pub use writer::Writer;

use present::{Access, Server, Survey};

/// What a new hub is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// How to keep vectors; nothing takes the best that the server has.
    pub vectors: Option<VectorKind>,
    /// Whether embeddings get an approximate index (HNSW, cosine).
    ///
    /// Off unless asked for: it slows the first load many times over, exact search
    /// over some ten thousand rows takes milliseconds, and ruvector's index loses rows.
    pub vector_index: bool,
    /// The model that embeddings are made with, if it is known.
    pub embedding_model: Option<String>,
}

/// What opening may do.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Only reads: for a status, or on a standby.
    Inspect,
    /// Upgrades a hub that is older than this program.
    Existing,
    /// Also makes one where there is none.
    Create(&'a Setup),
    /// Also takes one that lost columns, for [`Hub::prepare`] to make them anew.
    Restore(&'a Setup),
}

/// An open hub: what it is, and which tables and columns it has.
#[derive(Clone, Debug)]
pub struct Hub {
    schema: Identifier,
    id: String,
    writer: Writer,
    flavour: Flavour,
    vector_index: bool,
    embedding_model: Option<String>,
    present: Present,
    server: Server,
    created: bool,
    lost: Vec<String>,
    /// Whether views are to be made; not where nothing is to be written.
    views_due: bool,
    warnings: Vec<String>,
}

/// Opens a hub. One that is up to date costs a single round trip and writes nothing.
///
/// # Errors
/// When there is no hub and none is to be made; when it is newer than this program or
/// was changed by something else; when it lost columns, except to inspect or restore it;
/// when the server is older than PostgreSQL 14 or
/// read-only while something is to be written, or the user lacks a privilege.
pub async fn open(client: &Client, schema: &Identifier, mode: Mode<'_>) -> Result<Hub> {
    let survey = read(client, schema).await?;
    let exists = !survey.info.is_empty();
    let due = migrate::is_due(&survey.applied, schema)?;
    if matches!(mode, Mode::Create(_) | Mode::Restore(_)) && survey.server.standby {
        return Err(refusal::read_only(&survey.server));
    }
    let mut hub = match mode {
        Mode::Inspect | Mode::Existing if !exists => return Err(refusal::no_hub(&survey.server, schema)),
        Mode::Existing | Mode::Create(_) | Mode::Restore(_) if exists && due => {
            refusal::check_writable(&survey, schema)?;
            let flavour = recorded_flavour(&survey, schema)?;
            migrate(client, schema, &flavour, &Setup::default()).await?;
            described(read(client, schema).await?, schema)?
        }
        Mode::Create(setup) | Mode::Restore(setup) if !exists => create(client, schema, setup, survey).await?,
        _ => {
            let mut hub = described(survey, schema)?;
            if due {
                hub.warnings.push("the hub is older than this program: the next sync upgrades it".to_owned());
            }
            hub
        }
    };
    hub.look_for_lost(mode)?;
    if hub.views_due {
        hub.look_at_views(mode);
    }
    if let Mode::Create(Setup { vectors: Some(asked), .. }) | Mode::Restore(Setup { vectors: Some(asked), .. }) = mode
        && *asked != hub.flavour.kind()
    {
        let (asked, kept) = (asked.as_str(), hub.flavour.kind().as_str());
        hub.warnings.push(format!("the hub was made with vector flavour {kept} and keeps it; {asked} was asked for"));
    }
    Ok(hub)
}

/// Makes a hub with these tables, or upgrades and completes the one that is there.
///
/// # Errors
/// As [`open`] and [`Hub::prepare`].
pub async fn init(client: &Client, schema: &Identifier, setup: &Setup, wanted: &[Arc<TableSpec>]) -> Result<Hub> {
    let mut hub = open(client, schema, Mode::Restore(setup)).await?;
    hub.prepare(client, wanted).await?;
    // They show tables of the catalogue: a hub for other tables does without.
    if wanted.iter().any(|table| tables::find(table.name().as_str()).is_some()) {
        hub.prepare_views(client).await?;
    }
    Ok(hub)
}

/// The flavour that a new hub here would get, without changing anything: for
/// [`script`]. A hub that is there keeps its own.
///
/// # Errors
/// As [`open`] with [`Mode::Inspect`], except that there need not be a hub; when what
/// `setup` asks for cannot be had.
pub async fn planned_flavour(client: &Client, schema: &Identifier, setup: &Setup) -> Result<Flavour> {
    let survey = read(client, schema).await?;
    if survey.info.is_empty() {
        detect::plan(client, schema, setup, &survey).await
    } else {
        recorded_flavour(&survey, schema)
    }
}

async fn read(client: &Client, schema: &Identifier) -> Result<Survey> {
    let survey =
        present::survey(client, schema).await.map_err(|cause| refusal::failed("opening the hub", schema, cause))?;
    refusal::check_readable(&survey, schema)?;
    Ok(survey)
}

async fn create(client: &Client, schema: &Identifier, setup: &Setup, survey: Survey) -> Result<Hub> {
    refusal::check_writable(&survey, schema)?;
    let (flavour, notes) = detect::choose(client, schema, setup, &survey).await?;
    migrate(client, schema, &flavour, setup).await?;
    let mut hub = described(read(client, schema).await?, schema)?;
    hub.created = true;
    hub.warnings.extend(notes);
    if hub.vector_index && hub.flavour.kind() == VectorKind::Ruvector {
        hub.warnings.push(format!("an index was asked for on ruvector's embeddings: {}", flavour::RUVECTOR_INDEX));
    }
    Ok(hub)
}

/// One batch is one transaction and one round trip: it happens whole or not at all,
/// also when nobody waits for the answer any more.
async fn migrate(client: &Client, schema: &Identifier, flavour: &Flavour, setup: &Setup) -> Result<()> {
    let model = setup.embedding_model.as_deref();
    let sql = migrate::lock(schema) + &migrate::statements(schema, flavour, setup.vector_index, model);
    failpoint!("postgres-hub-before");
    let made = client.batch_execute(&sql).await;
    made.map_err(|cause| refusal::failed("making or upgrading the hub", schema, cause))?;
    failpoint!("postgres-hub-made");
    Ok(())
}

fn recorded_flavour(survey: &Survey, schema: &Identifier) -> Result<Flavour> {
    let recorded = survey.info.get("vector_flavour").map_or("", String::as_str);
    let kind = VectorKind::parse(recorded).ok_or_else(|| {
        Error::new(ErrorKind::Incompatible, format!("the hub keeps vectors in an unknown way ({recorded:?})"))
            .during("opening the hub")
            .context("schema", schema)
            .advice("install the version of aqe-sync that wrote it, or a newer one")
    })?;
    Ok(Flavour::of(kind, &survey.extensions))
}

fn described(survey: Survey, schema: &Identifier) -> Result<Hub> {
    // Another program may have upgraded it since the first look.
    migrate::is_due(&survey.applied, schema)?;
    let flavour = recorded_flavour(&survey, schema)?;
    let info = |key: &str| survey.info.get(key);
    let id = info("hub_id").cloned().ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "the hub has lost its id")
            .during("opening the hub")
            .context("table", format!("{}.hub_info", schema.quoted()))
            .advice("restore the row with key hub_id from a backup")
    })?;
    let vector_index = info("vector_index").is_some_and(|index| index == "hnsw");
    let recorded = info("vector_extension_version").map(String::as_str);
    let mut warnings = flavour.warnings(recorded, &survey.extensions);
    if vector_index && !flavour.has_hnsw() {
        warnings.push("an index on embeddings was asked for, and there is none: searches are exact".to_owned());
    }
    warnings.extend(survey.vector_indexes.iter().map(|index| {
        format!(
            "index {} on table {} is an {} index of ruvector: {}; DROP INDEX {}.{}",
            index.name,
            index.table,
            index.method,
            flavour::RUVECTOR_INDEX,
            schema.quoted(),
            Quoted(&index.name)
        )
    }));
    Ok(Hub {
        views_due: views::are_due(&survey, schema),
        id,
        flavour,
        vector_index,
        embedding_model: info("embedding_model").cloned(),
        schema: schema.clone(),
        writer: Writer::of(&survey.server, survey.own),
        present: survey.present,
        server: survey.server,
        created: false,
        lost: Vec::new(),
        warnings,
    })
}

impl Hub {
    /// Notes which columns of the catalogue's tables are gone. Where they matter that is
    /// an error: rows would be written, or compared, without them, and nobody would know.
    fn look_for_lost(&mut self, mode: Mode<'_>) -> Result<()> {
        for table in tables::all() {
            let lost = prepare::lost(table, &self.present);
            self.lost.extend(lost.iter().map(|column| format!("{}.{}", table.name(), column.name)));
        }
        if self.lost.is_empty() {
            return Ok(());
        }
        let lost = refusal::lost(&self.lost, &self.flavour, &self.schema);
        match mode {
            Mode::Inspect => self.warnings.push(lost.to_string()),
            Mode::Restore(_) if self.flavour.is_usable() => self.warnings.push(format!(
                "columns that the hub had lost are made anew: {}; run aqe-sync in every environment to fill them again \
                 from its sources",
                self.lost.join(", ")
            )),
            Mode::Existing | Mode::Create(_) | Mode::Restore(_) => return Err(lost),
        }
        Ok(())
    }

    /// Views are for people: a sync goes on without them.
    fn look_at_views(&mut self, mode: Mode<'_>) {
        if matches!(mode, Mode::Inspect) || self.server.read_only {
            self.views_due = false;
        } else if self.server.access != Access::Create && !self.created {
            self.views_due = false;
            self.warnings.push(format!(
                "the fleet's views are missing or of an older version, and user {user} may not make them: have the \
                 owner of schema {schema} run aqe-sync init",
                user = self.server.user,
                schema = self.schema.quoted()
            ));
        }
    }

    /// Makes the fleet's views, and the tables of the catalogue that they read, where they
    /// are missing or older than this program; once, whatever comes of it.
    ///
    /// # Errors
    /// When something else has the name of a view, or depends on one; when they belong to
    /// somebody else. The hub does without them.
    pub async fn prepare_views(&mut self, client: &Client) -> Result<()> {
        if !std::mem::take(&mut self.views_due) {
            return Ok(());
        }
        let sql = migrate::lock(&self.schema) + &self.missing(tables::all())? + &views::statements(&self.schema);
        let failed = |cause| refusal::failed("making the fleet's views", &self.schema, cause);
        failpoint!("postgres-views-before");
        let present = self.batch(client, &sql).await.map_err(failed)?;
        failpoint!("postgres-views-made");
        self.present = present;
        Ok(())
    }

    /// Runs statements and looks at what is there, both sent together; what somebody else did
    /// meanwhile shows in the answer.
    async fn batch(&self, client: &Client, sql: &str) -> Result<Present, Cause> {
        let (done, present) =
            futures::future::join(client.batch_execute(sql), present::present(client, &self.schema)).await;
        done?;
        present
    }

    /// The columns that the catalogue's tables had and lost, as `table.column`; as of opening.
    pub fn lost_columns(&self) -> &[String] {
        &self.lost
    }

    /// Makes tables, or adds the columns that they lack, all or none; nothing else.
    /// Costs nothing where they are as specified. Where a table had a column and lost it,
    /// its rows are sent again by the next sync, to fill it.
    ///
    /// # Errors
    /// When a table or column is there, but is something else; when the user may not.
    pub async fn prepare(&mut self, client: &Client, tables: &[Arc<TableSpec>]) -> Result<()> {
        let sql = self.missing(tables)?;
        if sql.is_empty() {
            return Ok(());
        }
        if self.server.read_only {
            return Err(refusal::read_only(&self.server));
        }
        if self.writer != Writer::Any {
            return Err(refusal::owner_first(&self.server, &self.incomplete(tables), &self.schema));
        }
        let failed = |cause| refusal::failed("preparing tables of the hub", &self.schema, cause);
        let batch = migrate::lock(&self.schema) + &sql;
        failpoint!("postgres-tables-before");
        let present = self.batch(client, &batch).await.map_err(failed)?;
        failpoint!("postgres-tables-made");
        self.present = present;
        if self.missing(tables)?.is_empty() {
            Ok(())
        } else {
            Err(Error::internal("a table was made, and is still not as specified").context("schema", &self.schema))
        }
    }

    fn missing(&self, tables: &[Arc<TableSpec>]) -> Result<String> {
        let mut sql = String::new();
        for table in tables {
            sql += &prepare::missing(&self.schema, table, &self.flavour, self.vector_index, &self.present)?;
        }
        sql += &self.unguarded(tables);
        Ok(sql)
    }

    /// Whose rows the login may write.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// The login, as the server knows it.
    pub fn login(&self) -> &str {
        &self.server.user
    }

    /// Whether the server lets this login `COPY` into the hub's tables: it refuses where
    /// row-level security applies, also to who may write all rows.
    pub(super) fn takes_copies(&self) -> bool {
        self.server.rules == present::Rules::None
    }

    /// The schema that it lives in.
    pub fn schema(&self) -> &Identifier {
        &self.schema
    }

    /// Tells it from every other hub.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it keeps vectors.
    pub fn flavour(&self) -> &Flavour {
        &self.flavour
    }

    /// Whether embeddings of new tables get an approximate index.
    pub fn vector_index(&self) -> bool {
        self.vector_index
    }

    /// The model that its embeddings are made with, if it is recorded.
    pub fn embedding_model(&self) -> Option<&str> {
        self.embedding_model.as_deref()
    }

    /// Its tables and columns, as of the last look.
    pub fn present(&self) -> &Present {
        &self.present
    }

    /// Whether the server takes no writes: a standby, or a read-only session.
    pub fn is_read_only(&self) -> bool {
        self.server.read_only
    }

    /// The server's version as PostgreSQL numbers it: 150018 is 15.18.
    pub fn server_version(&self) -> i32 {
        self.server.version
    }

    /// Whether opening it made it.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// What a person should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
