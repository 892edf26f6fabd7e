//! One layer of the configuration, and how layers lie over each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aqe_cloud::secret::{Secret, SecretName};
use aqe_sync_core::{Deletes, Environment, Identifier, PolicySpec};

use super::alerts::AlertsLayer;
use super::hub::Hub;
use super::monitor::MonitorLayer;
use super::setting::Setting;
use super::tunnel::Way;
use super::watch::WatchLayer;

/// What one layer says; what it leaves open comes from the layer below.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    /// Who writes.
    pub(super) environment: Option<Setting<Environment>>,
    /// Where to.
    pub(super) hub: Option<Setting<Hub>>,
    /// Only these sources.
    pub(super) include: Option<Setting<Vec<String>>>,
    /// None of these.
    pub(super) exclude: Option<Setting<Vec<String>>>,
    /// Per table.
    pub(super) tables: BTreeMap<String, TableSettings>,
    /// Records in a batch.
    pub(super) batch_rows: Option<Setting<usize>>,
    /// Bytes in a batch.
    pub(super) batch_bytes: Option<Setting<usize>>,
    /// Whether most of a stream may go at once.
    pub(super) allow_mass_delete: Option<Setting<bool>>,
    /// The way to a database on Google Cloud.
    pub(super) gcp: GcpLayer,
    /// What a hub in PostgreSQL is like.
    pub(super) postgres: PostgresLayer,
    /// What is taken from the fleet.
    pub(super) pull: PullLayer,
    /// What is taken out of what is sent.
    pub(super) redact: RedactLayer,
    /// How text becomes vectors.
    pub(super) embed: EmbedLayer,
    /// From when on something needs attention. Only the file says that.
    pub(super) monitor: MonitorLayer,
    /// How the daemon goes about it. The file says that, and the command's own flags.
    pub(super) watch: WatchLayer,
    /// Who is told of crossed thresholds.
    pub(super) alerts: AlertsLayer,
}

/// What a layer says about embeddings.
#[derive(Clone, Debug, Default)]
pub(crate) struct EmbedLayer {
    /// Whether a sync embeds what it sent.
    pub(crate) on_sync: Option<Setting<bool>>,
    /// The folder that holds the model.
    pub(crate) model_dir: Option<Setting<PathBuf>>,
    /// Whether the model is fetched where there is none.
    pub(crate) download: Option<Setting<bool>>,
    /// Where from, instead of where it is published.
    pub(crate) url: Option<Setting<String>>,
}

/// What a layer says about credentials in what is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct RedactLayer {
    /// Whether they are taken out at all.
    pub(crate) enabled: Option<Setting<bool>>,
    /// Kinds that are not.
    pub(crate) allow: Option<Setting<Vec<String>>>,
    /// Hub tables whose records are left alone.
    pub(crate) allow_tables: Option<Setting<Vec<String>>>,
    /// What is taken out, too.
    pub(crate) patterns: Option<Setting<Vec<String>>>,
}

/// What a layer says about what is taken from the fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct PullLayer {
    /// Only these hub tables.
    pub(crate) tables: Option<Setting<Vec<String>>>,
    /// How sure the fleet has to be of a record, 0 to 1.
    pub(crate) min_confidence: Option<Setting<f64>>,
    /// In how many environments a record has to be.
    pub(crate) min_environments: Option<Setting<usize>>,
}

/// What a layer says about a hub in PostgreSQL.
#[derive(Clone, Debug, Default)]
pub(crate) struct PostgresLayer {
    /// The hub's schema.
    pub(crate) schema: Option<Setting<Identifier>>,
    /// How a new hub keeps vectors: `auto`, `ruvector`, `pgvector` or `none`.
    pub(crate) vectors: Option<Setting<String>>,
    /// Whether a new hub gets an approximate index over embeddings.
    pub(crate) vector_index: Option<Setting<bool>>,
    /// How many connections write at most.
    pub(crate) connections: Option<Setting<usize>>,
    /// Whether round trips take longer than work; measured where nobody says.
    pub(crate) far: Option<Setting<bool>>,
    /// Where the password is kept.
    pub(crate) password: Option<Setting<SecretName>>,
    /// What prints the password: a program and its arguments.
    pub(crate) password_command: Option<Setting<Vec<String>>>,
}

/// What a layer says about the way to a database on Google Cloud.
#[derive(Clone, Debug, Default)]
pub(crate) struct GcpLayer {
    pub(crate) project: Option<Setting<String>>,
    pub(crate) zone: Option<Setting<String>>,
    pub(crate) instance: Option<Setting<String>>,
    pub(crate) database: Option<Setting<String>>,
    pub(crate) user: Option<Setting<String>>,
    pub(crate) tunnel_port: Option<Setting<u16>>,
    /// The database's port on the instance.
    pub(crate) port: Option<Setting<u16>>,
    /// How it is reached, where that is said.
    pub(crate) tunnel: Option<Setting<Way>>,
    /// Another relay than Google's.
    pub(crate) relay: Option<Setting<String>>,
    /// What would stand behind the `?` of a URL.
    pub(crate) parameters: Option<Setting<Secret>>,
    /// Another Secret Manager than Google's public address.
    pub(crate) secret_manager: Option<Setting<String>>,
}

/// What is set for one table instead of its own rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableSettings {
    /// How conflicts end.
    pub(crate) policy: Option<Setting<PolicySpec>>,
    /// What happens when records disappear.
    pub(crate) deletes: Option<Setting<Deletes>>,
}

impl Layer {
    /// This layer, with `below` where it says nothing.
    pub(super) fn over(mut self, below: Self) -> Self {
        for (name, table) in below.tables {
            let own = self.tables.entry(name).or_default();
            own.policy = own.policy.take().or(table.policy);
            own.deletes = own.deletes.take().or(table.deletes);
        }
        Self {
            environment: self.environment.or(below.environment),
            hub: self.hub.or(below.hub),
            include: self.include.or(below.include),
            exclude: self.exclude.or(below.exclude),
            tables: self.tables,
            batch_rows: self.batch_rows.or(below.batch_rows),
            batch_bytes: self.batch_bytes.or(below.batch_bytes),
            allow_mass_delete: self.allow_mass_delete.or(below.allow_mass_delete),
            gcp: GcpLayer {
                project: self.gcp.project.or(below.gcp.project),
                zone: self.gcp.zone.or(below.gcp.zone),
                instance: self.gcp.instance.or(below.gcp.instance),
                database: self.gcp.database.or(below.gcp.database),
                user: self.gcp.user.or(below.gcp.user),
                tunnel_port: self.gcp.tunnel_port.or(below.gcp.tunnel_port),
                port: self.gcp.port.or(below.gcp.port),
                tunnel: self.gcp.tunnel.or(below.gcp.tunnel),
                relay: self.gcp.relay.or(below.gcp.relay),
                parameters: self.gcp.parameters.or(below.gcp.parameters),
                secret_manager: self.gcp.secret_manager.or(below.gcp.secret_manager),
            },
            postgres: PostgresLayer {
                schema: self.postgres.schema.or(below.postgres.schema),
                vectors: self.postgres.vectors.or(below.postgres.vectors),
                vector_index: self.postgres.vector_index.or(below.postgres.vector_index),
                connections: self.postgres.connections.or(below.postgres.connections),
                far: self.postgres.far.or(below.postgres.far),
                password: self.postgres.password.or(below.postgres.password),
                password_command: self.postgres.password_command.or(below.postgres.password_command),
            },
            pull: PullLayer {
                tables: self.pull.tables.or(below.pull.tables),
                min_confidence: self.pull.min_confidence.or(below.pull.min_confidence),
                min_environments: self.pull.min_environments.or(below.pull.min_environments),
            },
            redact: RedactLayer {
                enabled: self.redact.enabled.or(below.redact.enabled),
                allow: self.redact.allow.or(below.redact.allow),
                allow_tables: self.redact.allow_tables.or(below.redact.allow_tables),
                patterns: self.redact.patterns.or(below.redact.patterns),
            },
            embed: EmbedLayer {
                on_sync: self.embed.on_sync.or(below.embed.on_sync),
                model_dir: self.embed.model_dir.or(below.embed.model_dir),
                download: self.embed.download.or(below.embed.download),
                url: self.embed.url.or(below.embed.url),
            },
            monitor: below.monitor,
            watch: below.watch,
            alerts: self.alerts.over(below.alerts),
        }
    }
}
