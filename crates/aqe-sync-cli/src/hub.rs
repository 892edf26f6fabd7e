//! Opens the hub that is configured, whichever kind it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aqe_cloud::postgres::link::{Address, AddressParts, Connector};
use aqe_cloud::postgres::schema::{Setup, VectorKind};
use aqe_cloud::postgres::{HubBuilder, PostgresHub};
use aqe_cloud::secret::{Secret, SecretName};
use aqe_cloud::tunnel::iap::Iap;
use aqe_cloud::tunnel::{Direct, Forwarded, Gcloud, GoogleCredentials, Instance, Places};
use aqe_readers::EmbeddedHub;
use aqe_sync_core::Error;

use crate::config::{Hub, Settings, Tunnel, Way};
use crate::exit::Failure;
use crate::password;

/// How long connecting through a tunnel may take unless said otherwise: a tunnel has to be opened
/// first, and the instance may be starting.
const TUNNEL_LIMIT: Duration = Duration::from_secs(60);

/// A hub that is open.
pub(crate) enum OpenHub {
    /// One local file.
    Embedded(EmbeddedHub),
    /// A database server.
    Postgres(PostgresHub),
}

/// Runs the same code over either kind of hub.
macro_rules! with_hub {
    ($open:expr, $hub:ident => $body:expr) => {
        match $open {
            $crate::hub::OpenHub::Embedded($hub) => $body,
            $crate::hub::OpenHub::Postgres($hub) => $body,
        }
    };
}
pub(crate) use with_hub;

/// What is to be done with a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Write to it; it is made if there is none.
    Write,
    /// The same, and what it lost is made anew.
    Prepare,
    /// See what writing would do.
    DryRun,
    /// Look at it, and change nothing; it has to be there.
    Look,
    /// Compare with it; it has to be there.
    Existing,
    /// Compare with it and write what differs; it has to be there.
    Mend,
}

/// Opens the configured hub. `None` when it has to be there and is not.
///
/// # Errors
/// When it cannot be opened; says why, without a password.
pub(crate) fn open(settings: &Settings, purpose: Purpose) -> Result<Option<OpenHub>, Failure> {
    if let Hub::Embedded { path, .. } = &settings.hub.value {
        let hub = match purpose {
            Purpose::Write | Purpose::Prepare => Some(EmbeddedHub::open(path)?),
            Purpose::DryRun => Some(EmbeddedHub::scratch(path)?),
            Purpose::Existing | Purpose::Mend | Purpose::Look => EmbeddedHub::open_existing(path)?,
        };
        return Ok(hub.map(OpenHub::Embedded));
    }
    let builder = builder(settings)?;
    let hub = match purpose {
        Purpose::Write => Some(builder.open()?),
        Purpose::Prepare => Some(builder.restore().open()?),
        Purpose::DryRun => builder.dry_run().open_if_there()?,
        Purpose::Look => builder.inspect().open_if_there()?,
        Purpose::Existing | Purpose::Mend => builder.open_if_there()?,
    };
    if let (Some(hub), Purpose::Write | Purpose::DryRun | Purpose::Mend) = (&hub, purpose) {
        hub.check_writer(&settings.environment.value)?;
    }
    if hub.is_none() && purpose == Purpose::DryRun {
        // One empty hub is like any other: what would be written to it shows here too.
        return Ok(Some(OpenHub::Embedded(EmbeddedHub::scratch(Path::new(""))?)));
    }
    Ok(hub.map(OpenHub::Postgres))
}

/// Whether the configured hub can be one at all, before anything is tried.
///
/// # Errors
/// A usage error when its address is none.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    match &settings.hub.value {
        Hub::Embedded { .. } => Ok(()),
        Hub::Postgres(_) | Hub::Tunnel(_) => builder(settings).map(drop),
    }
}

/// How the configured database is opened.
///
/// # Errors
/// A usage error when the address is none, or the hub is a file.
pub(crate) fn builder(settings: &Settings) -> Result<HubBuilder, Failure> {
    let mut builder = PostgresHub::builder(address(settings)?);
    if let Hub::Tunnel(tunnel) = &settings.hub.value {
        builder = builder.connector(connector(tunnel, &settings.google)?);
    }
    let postgres = &settings.postgres;
    if let Some(schema) = &postgres.schema {
        builder = builder.schema(schema.value.clone());
    }
    if let Some(connections) = &postgres.connections {
        builder = builder.connections(connections.value);
    }
    if let Some(far) = &postgres.far {
        builder = builder.far(far.value);
    }
    let vectors = postgres.vectors.as_ref().and_then(|vectors| match vectors.value.as_str() {
        "ruvector" => Some(VectorKind::Ruvector),
        "pgvector" => Some(VectorKind::Pgvector),
        "none" => Some(VectorKind::None),
        _ => None,
    });
    let vector_index = postgres.vector_index.as_ref().is_some_and(|index| index.value);
    Ok(builder.setup(Setup { vectors, vector_index, embedding_model: None }))
}

/// What the address of a database on Google Cloud is made of.
fn tunnel_parts(tunnel: &Tunnel) -> Result<AddressParts, Failure> {
    let (host, port) = tunnel.place();
    let parameters = tunnel.parameters.as_ref().map_or("", Secret::expose);
    let mut parts = AddressParts::parse(&format!("postgres://?{parameters}"))?.host(host).port(port);
    if matches!(tunnel.way, Way::Iap | Way::Gcloud) && !parameters.contains("connect_timeout") {
        parts = parts.connect_timeout(TUNNEL_LIMIT);
    }
    if let Some(database) = &tunnel.database {
        parts = parts.database(database);
    }
    if let Some(user) = &tunnel.user {
        parts = parts.user(user);
    }
    Ok(parts)
}

fn connector(tunnel: &Tunnel, google: &Places) -> Result<Arc<dyn Connector>, Failure> {
    let instance = Instance::new(&tunnel.project, &tunnel.zone, &tunnel.instance).port(tunnel.port);
    Ok(match tunnel.way {
        Way::Direct => Arc::new(Direct),
        Way::Forwarded => Arc::new(Forwarded::new(tunnel.place().1)),
        Way::Gcloud => {
            let gcloud = Gcloud::new(instance);
            let gcloud = tunnel.local_port.into_iter().fold(gcloud, Gcloud::port);
            Arc::new(tunnel.relay.iter().fold(gcloud, Gcloud::relay))
        }
        Way::Iap => {
            let iap = Iap::new(instance, Arc::new(GoogleCredentials::discover(google.clone())));
            Arc::new(match &tunnel.relay {
                Some(url) => iap.relay(url)?,
                None => iap,
            })
        }
    })
}

/// The configured database's address, with its password.
///
/// # Errors
/// As [`builder`].
pub(crate) fn address(settings: &Settings) -> Result<Address, Failure> {
    let mut parts = match &settings.hub.value {
        Hub::Postgres(url) => AddressParts::parse(url.expose())?,
        Hub::Tunnel(tunnel) => tunnel_parts(tunnel)?,
        Hub::Embedded { .. } => {
            return Err(Failure::usage(
                "the hub is a local file; name a database with --hub postgres://USER@HOST/DATABASE",
            ));
        }
    };
    parts = match &settings.password {
        // Where settings are variables only, the name of the secret has no other place.
        Some(name) if SecretName::is_meant(name.expose()) => {
            let name = name.expose().parse().map_err(|error: Error| Failure::usage(format!("PGPASSWORD: {error}")))?;
            parts.password_source(password::in_manager(settings, name)?)
        }
        Some(password) => parts.default_password(password.clone()),
        None => password::source(settings)?.into_iter().fold(parts, AddressParts::password_source),
    };
    if let Some(file) = &settings.password_file {
        parts = parts.password_file(file);
    }
    if let Some(user) = &settings.user {
        parts = parts.system_user(user);
    }
    Ok(parts.build()?)
}
