//! The effective configuration: defaults < file < environment variables < flags.

mod alerts;
mod describe;
mod file;
#[cfg(test)]
mod fuzz;
mod hub;
mod layer;
mod monitor;
mod nearest;
pub(crate) mod secret;
mod section;
mod setting;
mod tunnel;
mod variables;
pub(crate) mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqe_cloud::secret::Secret;
use aqe_cloud::tunnel::Places;
use aqe_sync_core::redact::Redact;
use aqe_sync_core::{BatchLimits, Environment};

pub(crate) use describe::{Entry, entries};
pub(crate) use hub::Hub;
use layer::{EmbedLayer, GcpLayer, Layer, PostgresLayer, PullLayer, RedactLayer, TableSettings};
pub(crate) use monitor::{MonitorLayer, Span};
pub(crate) use setting::{Origin, Setting};
pub(crate) use tunnel::{Tunnel, Way};
pub(crate) use variables::Variables;

use crate::args::Global;
use crate::exit::Failure;
use crate::project;

/// The configuration file's usual name, under the root.
pub(crate) const FILE_NAME: &str = "aqe-sync.toml";

/// The hub when nothing else is said.
const DEFAULT_HUB: &str = "sqlite:.aqe-sync/hub.db";

/// All settings, each with its origin.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The project.
    pub(crate) root: Setting<PathBuf>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// Who writes.
    pub(crate) environment: Setting<Environment>,
    /// Where to.
    pub(crate) hub: Setting<Hub>,
    /// Only these sources; all when empty.
    pub(crate) include: Setting<Vec<String>>,
    /// None of these.
    pub(crate) exclude: Setting<Vec<String>>,
    /// Per table, what differs from its own rules.
    pub(crate) tables: BTreeMap<String, TableSettings>,
    batch_rows: Setting<usize>,
    batch_bytes: Setting<usize>,
    /// Whether most of a stream may go at once.
    pub(crate) allow_mass_delete: Setting<bool>,
    pub(crate) gcp: GcpLayer,
    /// What a hub in PostgreSQL is like.
    pub(crate) postgres: PostgresLayer,
    /// What is taken from the fleet.
    pub(crate) pull: PullLayer,
    /// How text becomes vectors.
    pub(crate) embed: EmbedLayer,
    /// From when on something needs attention.
    pub(crate) monitor: MonitorLayer,
    /// How the daemon goes about it.
    pub(crate) watch: watch::WatchLayer,
    /// Who is told of crossed thresholds.
    pub(crate) alerts: alerts::AlertsLayer,
    /// What is taken out of what is sent.
    redact: RedactLayer,
    /// What `PGPASSWORD` holds.
    pub(crate) password: Option<Secret>,
    /// Where passwords are kept.
    pub(crate) password_file: Option<PathBuf>,
    /// Who is at the terminal.
    pub(crate) user: Option<String>,
    /// Where credentials for Google Cloud are looked for.
    pub(crate) google: Places,
    no_color: bool,
}

impl Settings {
    /// Puts the layers together for a project.
    ///
    /// # Errors
    /// When a layer holds something it should not; names the place.
    pub(crate) fn load(
        root: Setting<PathBuf>,
        default_environment: &str,
        global: &Global,
        variables: &Variables,
    ) -> Result<Self, Failure> {
        let (file, file_layer) = match find_file(&root.value, global.config.as_deref())? {
            Some(path) => {
                let layer = file::read(&path, &root.value, variables.home.as_deref())?;
                (Some(path), layer)
            }
            None => (None, Layer::default()),
        };
        let from_flags = flags(global, &root.value, variables.home.as_deref())?;
        let layer = from_flags.over(variables.layer(&root.value)?).over(file_layer);
        let environment = match layer.environment {
            Some(environment) => environment,
            None => Setting::default(Environment::parse(default_environment)?),
        };
        let named = match layer.hub {
            Some(hub) => Some(hub),
            None => tunnel::hub(&layer.gcp)?,
        };
        let hub = match named {
            Some(hub) => hub,
            None => Setting::default(Hub::parse(DEFAULT_HUB, &root.value, None).map_err(Failure::failed)?),
        };
        let limits = BatchLimits::default();
        Ok(Self {
            root,
            file,
            environment,
            hub,
            include: layer.include.unwrap_or(Setting::default(Vec::new())),
            exclude: layer.exclude.unwrap_or(Setting::default(Vec::new())),
            tables: layer.tables,
            batch_rows: layer.batch_rows.unwrap_or(Setting::default(limits.rows)),
            batch_bytes: layer.batch_bytes.unwrap_or(Setting::default(limits.bytes)),
            allow_mass_delete: layer.allow_mass_delete.unwrap_or(Setting::default(false)),
            gcp: layer.gcp,
            postgres: layer.postgres,
            pull: layer.pull,
            monitor: layer.monitor,
            watch: layer.watch,
            alerts: layer.alerts,
            redact: layer.redact,
            embed: layer.embed,
            password: variables.password.clone(),
            password_file: variables.password_file.clone(),
            user: variables.user.clone(),
            google: variables.google.clone(),
            no_color: variables.no_color(),
        })
    }

    /// What takes credentials out of what is sent; `None` where that is not wanted.
    ///
    /// # Errors
    /// When an exception or a pattern is none; the file was checked for that.
    pub(crate) fn redact(&self) -> Result<Option<Arc<Redact>>, Failure> {
        let RedactLayer { enabled, allow, allow_tables, patterns } = &self.redact;
        if enabled.as_ref().is_some_and(|enabled| !enabled.value) {
            return Ok(None);
        }
        let items = |list: &Option<Setting<Vec<String>>>| list.as_ref().map_or(Vec::new(), |list| list.value.clone());
        let mut redact = Redact::new();
        for kind in items(allow) {
            redact = redact.without(&kind)?;
        }
        for pattern in items(patterns) {
            redact = redact.with_pattern(&pattern)?;
        }
        Ok(Some(Arc::new(items(allow_tables).into_iter().fold(redact, Redact::without_table))))
    }

    /// The hub as people know it.
    pub(crate) fn hub_shown(&self) -> String {
        match &self.hub.value {
            Hub::Embedded { path, .. } => project::shown(path, &self.root.value),
            Hub::Postgres(_) | Hub::Tunnel(_) => self.hub.value.to_string(),
        }
    }

    /// How large batches may get.
    pub(crate) fn limits(&self) -> BatchLimits {
        BatchLimits { rows: self.batch_rows.value, bytes: self.batch_bytes.value }
    }
}

/// The given file, or the usual one if it is there.
fn find_file(root: &Path, given: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    match given {
        Some(path) if path.is_file() => Ok(Some(path.to_owned())),
        Some(path) => Err(Failure::usage(format!("flag --config: there is no file {}", path.display()))),
        None => Ok(Some(root.join(FILE_NAME)).filter(|path| path.exists())),
    }
}

fn flags(global: &Global, root: &Path, home: Option<&Path>) -> Result<Layer, Failure> {
    let mut layer = Layer::default();
    if let Some(name) = &global.env {
        let text = Setting::new(name.clone(), Origin::Flag("--env"));
        let parse = |text: &str| Environment::parse(text).map_err(|error| error.message().to_owned());
        layer.environment = Some(variables::parsed(text, parse)?);
    }
    if let Some(url) = &global.hub {
        let text = Setting::new(url.expose().to_owned(), Origin::Flag("--hub"));
        layer.hub = Some(variables::parsed(text, |text| Hub::parse(text, root, home))?);
    }
    if let Some(sources) = &global.sources {
        if sources.iter().any(|item| item.trim().is_empty()) {
            return Err(Failure::usage("flag --sources: an item is empty; separate names by single commas"));
        }
        // Who names sources at the terminal means them, whatever the file leaves out.
        layer.include = Some(Setting::new(sources.clone(), Origin::Flag("--sources")));
        layer.exclude = Some(Setting::new(Vec::new(), Origin::Flag("--sources")));
    }
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: Option<&str>, variables: &[(&'static str, &str)], global: &Global) -> Result<Settings, Failure> {
        let root = tempfile::tempdir().expect("a folder");
        if let Some(text) = file {
            std::fs::write(root.path().join(FILE_NAME), text).expect("written");
        }
        let root = Setting::default(root.path().to_owned());
        Settings::load(root, "host:project", global, &Variables::of(variables))
    }

    #[test]
    fn later_layers_go_first_setting_by_setting() {
        let file = "env = \"from-file\"\nhub = \"sqlite:file.db\"\n[gcp]\nzone = \"file-zone\"\nuser = \"file-user\"";
        let variables =
            [("AQE_ENV", "from-variable"), ("AQE_HUB", "sqlite:variable.db"), ("GCP_ZONE", "variable-zone")];
        let global = Global { env: Some("from-flag".into()), ..Global::default() };
        let settings = load(Some(file), &variables, &global).expect("valid");
        assert_eq!(settings.environment.value.as_str(), "from-flag");
        assert_eq!(settings.environment.origin, Origin::Flag("--env"));
        assert_eq!(settings.hub.value.to_string(), "sqlite:variable.db");
        assert_eq!(settings.hub.origin, Origin::Variable("AQE_HUB"));
        assert_eq!(settings.gcp.zone.expect("set").value, "variable-zone");
        let user = settings.gcp.user.expect("set");
        assert_eq!(user.value, "file-user");
        assert_eq!(user.origin, Origin::File { path: FILE_NAME.into(), line: 5 });
        assert_eq!(settings.batch_rows, Setting::default(5_000));
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let settings = load(None, &[("AQE_ENV", ""), ("PGPASSWORD", "")], &Global::default()).expect("valid");
        assert_eq!(settings.environment.value.as_str(), "host:project");
        assert!(settings.password.is_none());
    }

    #[test]
    fn a_wrong_value_is_refused_in_any_layer_even_when_a_later_one_would_win() {
        let global = Global { env: Some("fine".into()), hub: Some("sqlite:x".into()), ..Global::default() };
        for (file, variable) in [
            (None, ("GCP_TUNNEL_PORT", "high")),
            (None, ("GCP_TUNNEL_PORT", "0")),
            (None, ("GCP_TUNNEL_PORT", "65536")),
            (None, ("AQE_HUB", "hub.db")),
            (Some("env = \"\""), ("AQE_ENV", "")),
            (Some("hub = \"hub.db\""), ("AQE_ENV", "")),
        ] {
            let failure = load(file, &[variable], &global).expect_err("wrong");
            assert_eq!(failure.exit, crate::exit::Exit::Usage);
            let place = if file.is_some() { "line 1" } else { variable.0 };
            assert!(failure.message.contains(place), "{}", failure.message);
        }
    }

    #[test]
    fn no_layer_repeats_a_password_in_its_error() {
        let url = "postgre://u:hunter2@h";
        let file = format!("hub = \"{url}\"");
        let global = Global { hub: Some(url.into()), ..Global::default() };
        let none = Global::default();
        let variables: [(&'static str, &str); 1] = [("AQE_HUB", url)];
        for (file, variables, global) in [
            (Some(file.as_str()), &[][..], &none),
            (None, &variables[..], &none),
            (None, &[], &global),
            (Some("hub = \"postgres://u:hunter2@h"), &[], &none),
            (Some("hub = postgres://u:hunter2@h"), &[], &none),
            (Some("\"postgres://u:hunter2@h\" = 1"), &[], &none),
            (Some("[tables.\"postgres://u:hunter2@h\"]"), &[], &none),
            (Some("[tables.events]\npolicy = \"postgres://u:hunter2@h\""), &[], &none),
        ] {
            let failure = load(file, variables, global).expect_err("wrong");
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        }
    }

    #[test]
    fn naming_sources_at_the_terminal_lifts_the_files_exclusion() {
        let global = Global { sources: Some(vec!["a.db".into()]), ..Global::default() };
        let settings = load(Some("[sources]\nexclude = [\"a.db\"]"), &[], &global).expect("valid");
        assert_eq!(settings.include.value, ["a.db"]);
        assert!(settings.exclude.value.is_empty());
    }

    #[test]
    fn a_named_file_must_be_there_and_the_usual_one_need_not() {
        assert!(load(None, &[], &Global::default()).expect("valid").file.is_none());
        let global = Global { config: Some("/nowhere/aqe-sync.toml".into()), ..Global::default() };
        assert!(load(None, &[], &global).expect_err("missing").message.contains("/nowhere/aqe-sync.toml"));
    }
}
