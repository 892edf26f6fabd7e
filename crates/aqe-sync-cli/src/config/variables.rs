//! The environment variables that are honoured, read once at the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aqe_cloud::secret::Secret;
use aqe_cloud::tunnel::Places;
use aqe_sync_core::Environment;

use super::alerts::{AlertsLayer, webhook};
use super::hub::Hub;
use super::layer::EmbedLayer;
use super::setting::{Origin, Setting};
use super::{GcpLayer, Layer};
use crate::exit::Failure;

/// What Google's own tools are told to ask instead of Secret Manager's public address.
const SECRET_MANAGER: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER";

/// Read for their values.
const NAMES: [&str; 13] = [
    "AQE_ENV",
    "AQE_HUB",
    "AQE_MODEL_DIR",
    "AQE_ALERTS_WEBHOOK",
    "AQE_ALERTS_HEARTBEAT",
    "GCP_PROJECT",
    "GCP_ZONE",
    "GCP_INSTANCE",
    "GCP_DATABASE",
    "GCP_USER",
    "GCP_TUNNEL_PORT",
    SECRET_MANAGER,
    "NO_COLOR",
];

/// A copy of what this process was given. An empty variable counts as unset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    /// A hub's URL among them may hold a password.
    values: BTreeMap<&'static str, Secret>,
    /// What `PGPASSWORD` holds.
    pub(crate) password: Option<Secret>,
    /// Where passwords are kept: `PGPASSFILE`, or `.pgpass` at home.
    pub(crate) password_file: Option<PathBuf>,
    /// Who is at the terminal.
    pub(crate) user: Option<String>,
    /// What `~/` stands for.
    pub(crate) home: Option<PathBuf>,
    /// Where credentials for Google Cloud are: as Google's own tools are told.
    pub(crate) google: Places,
}

impl Variables {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// When a variable is not text.
    pub(crate) fn of_process() -> Result<Self, Failure> {
        let mut values = BTreeMap::new();
        for name in NAMES {
            let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
                continue;
            };
            let text = value.into_string();
            values.insert(
                name,
                text.map(Secret::new)
                    .map_err(|_| Failure::usage(format!("variable {name}: its value is not UTF-8 text")))?,
            );
        }
        let text =
            |name| std::env::var_os(name).and_then(|value| value.into_string().ok()).filter(|text| !text.is_empty());
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let named = std::env::var_os("PGPASSFILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self {
            values,
            password: text("PGPASSWORD").map(Secret::new),
            password_file: named.or_else(|| home.as_ref().map(|home| home.join(".pgpass"))),
            user: text("USER").or_else(|| text("LOGNAME")).or_else(|| text("USERNAME")),
            google: google(home.as_deref()),
            home,
        })
    }

    /// The same from pairs.
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&'static str, &str)]) -> Self {
        let set = pairs.iter().filter(|(_, value)| !value.is_empty());
        Self {
            values: set.clone().map(|(name, value)| (*name, Secret::new(*value))).collect(),
            password: set.clone().find(|(name, _)| *name == "PGPASSWORD").map(|(_, value)| Secret::new(*value)),
            ..Self::default()
        }
    }

    /// Whether colours are unwanted.
    pub(crate) fn no_color(&self) -> bool {
        self.values.contains_key("NO_COLOR")
    }

    fn text(&self, name: &'static str) -> Option<Setting<String>> {
        self.values.get(name).map(|value| Setting::new(value.expose().to_owned(), Origin::Variable(name)))
    }

    /// The settings they make.
    ///
    /// # Errors
    /// When one is not what it should be; names the variable.
    pub(crate) fn layer(&self, root: &Path) -> Result<Layer, Failure> {
        let environment = self
            .text("AQE_ENV")
            .map(|text| parsed(text, |text| Environment::parse(text).map_err(|error| error.message().to_owned())));
        let hub = self.text("AQE_HUB").map(|text| parsed(text, |text| Hub::parse(text, root, self.home.as_deref())));
        let port = self.text("GCP_TUNNEL_PORT").map(|text| {
            parsed(text, |text| {
                let port = text.trim().parse().ok().filter(|port: &u16| *port > 0);
                port.ok_or_else(|| format!("{text:?} is not a port: use a number from 1 to 65535"))
            })
        });
        let gcp = GcpLayer {
            project: self.text("GCP_PROJECT"),
            zone: self.text("GCP_ZONE"),
            instance: self.text("GCP_INSTANCE"),
            database: self.text("GCP_DATABASE"),
            user: self.text("GCP_USER"),
            tunnel_port: port.transpose()?,
            secret_manager: self.text(SECRET_MANAGER),
            ..GcpLayer::default()
        };
        let webhook = |name| self.text(name).map(|text| parsed(text, webhook)).transpose();
        let alerts = AlertsLayer {
            webhook: webhook("AQE_ALERTS_WEBHOOK")?,
            heartbeat: webhook("AQE_ALERTS_HEARTBEAT")?,
            ..AlertsLayer::default()
        };
        let model_dir = self.text("AQE_MODEL_DIR").map(|dir| Setting::new(PathBuf::from(dir.value), dir.origin));
        let embed = EmbedLayer { model_dir, ..EmbedLayer::default() };
        Ok(Layer {
            environment: environment.transpose()?,
            hub: hub.transpose()?,
            gcp,
            embed,
            alerts,
            ..Layer::default()
        })
    }
}

fn google(home: Option<&Path>) -> Places {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = set("CLOUDSDK_CONFIG").map(PathBuf::from).or_else(|| Some(home?.join(".config/gcloud")));
    let mut places = Places {
        named: set("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
        usual: folder.map(|folder| folder.join("application_default_credentials.json")),
        ..Places::default()
    };
    if let Some(host) = set("GCE_METADATA_HOST").and_then(|host| host.into_string().ok()) {
        places.metadata = format!("http://{host}");
    }
    places
}

/// Checks a value; the error names its origin.
pub(super) fn parsed<T>(
    text: Setting<String>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Setting<T>, Failure> {
    match parse(&text.value) {
        Ok(value) => Ok(Setting::new(value, text.origin)),
        Err(problem) => Err(Failure::usage(format!("{}: {problem}", text.origin))),
    }
}
