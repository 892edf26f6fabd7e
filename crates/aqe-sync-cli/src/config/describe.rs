//! The configuration as a list for people: key, value, origin. No secrets.

use std::fmt::Display;
use std::time::Duration;

use aqe_cloud::secret::Secret;
use aqe_cloud::webhook::Webhook;
use aqe_sync_core::Deletes;
use aqe_sync_core::monitor::Thresholds;
use serde::Serialize;

use super::monitor::Limits;
use super::secret::{MASK, mask};
use super::{Origin, Setting, Settings, Span};

/// One line of `aqe-sync config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// The setting's name, as the file spells it.
    pub(crate) key: String,
    /// Its value as text; `None` when it is not set.
    pub(crate) value: Option<String>,
    /// Where it comes from.
    pub(crate) origin: String,
}

/// All settings in a fixed order.
pub(crate) fn entries(settings: &Settings) -> Vec<Entry> {
    let mut list = List(Vec::new());
    let root = &settings.root;
    list.0.push(Entry {
        key: "root".into(),
        value: Some(root.value.display().to_string()),
        origin: if root.origin == Origin::Default { "found".into() } else { root.origin.to_string() },
    });
    list.add("env", Some(&settings.environment));
    list.add("hub", Some(&settings.hub));
    list.add_list("sources.include", &settings.include, "all");
    list.add_list("sources.exclude", &settings.exclude, "none");
    list.add("batch.rows", Some(&settings.batch_rows));
    list.add("batch.bytes", Some(&settings.batch_bytes));
    list.add("allow_mass_delete", Some(&settings.allow_mass_delete));
    for (name, table) in &settings.tables {
        if let Some(policy) = &table.policy {
            list.add(&format!("tables.{name}.policy"), Some(policy));
        }
        if let Some(deletes) = &table.deletes {
            let word = if deletes.value == Deletes::Ignore { "ignore" } else { "tombstone" };
            list.add(&format!("tables.{name}.deletes"), Some(&Setting::new(word, deletes.origin.clone())));
        }
    }
    let postgres = &settings.postgres;
    list.add("postgres.schema", postgres.schema.as_ref());
    list.add("postgres.vectors", postgres.vectors.as_ref());
    list.add("postgres.vector_index", postgres.vector_index.as_ref());
    list.add("postgres.connections", postgres.connections.as_ref());
    list.add("postgres.far", postgres.far.as_ref());
    list.add("postgres.password", postgres.password.as_ref());
    // Its arguments may be secrets; they need not be, but nobody can tell.
    let program = |words: &Setting<Vec<String>>| {
        let more = if words.value.len() > 1 { " …" } else { "" };
        Setting::new(format!("{}{more}", words.value.first().map_or("", String::as_str)), words.origin.clone())
    };
    list.add("postgres.password_command", postgres.password_command.as_ref().map(program).as_ref());
    let pull = &settings.pull;
    let every = Setting::default(Vec::new());
    list.add_list("pull.tables", pull.tables.as_ref().unwrap_or(&every), "all");
    list.add("pull.min_confidence", pull.min_confidence.as_ref());
    list.add("pull.min_environments", pull.min_environments.as_ref());
    let embed = &settings.embed;
    list.add("embed.on_sync", Some(embed.on_sync.as_ref().unwrap_or(&Setting::default(false))));
    let shown = embed.model_dir.as_ref().map(|dir| Setting::new(dir.value.display().to_string(), dir.origin.clone()));
    list.add("embed.model_dir", shown.as_ref());
    list.add("embed.download", Some(embed.download.as_ref().unwrap_or(&Setting::default(true))));
    list.add("embed.url", embed.url.as_ref());
    let redact = &settings.redact;
    list.add("redact.enabled", Some(redact.enabled.as_ref().unwrap_or(&Setting::default(true))));
    list.add_list("redact.allow", redact.allow.as_ref().unwrap_or(&every), "none");
    list.add_list("redact.allow_tables", redact.allow_tables.as_ref().unwrap_or(&every), "none");
    list.add_list("redact.patterns", redact.patterns.as_ref().unwrap_or(&every), "none");
    list.add_limits("monitor", &settings.monitor.usual, Some(Thresholds::default()));
    for (name, limits) in &settings.monitor.streams {
        list.add_limits(&format!("monitor.streams.{name}"), limits, None);
    }
    let watch = &settings.watch;
    list.add("watch.interval", Some(&watch.schedule()));
    let plan = watch.plan();
    list.add("watch.jitter", Some(&origin_of(watch.jitter.as_ref(), Span(plan.jitter))));
    list.add("watch.on_change", Some(&origin_of(watch.on_change.as_ref(), true)));
    let debounce = plan.debounce.map(Span);
    list.add("watch.debounce", debounce.map(|span| origin_of(watch.debounce.as_ref(), span)).as_ref());
    list.add("watch.bidirectional", Some(&origin_of(watch.bidirectional.as_ref(), false)));
    list.add("watch.limit", Some(&origin_of(watch.limit.as_ref(), Span(watch.limit()))));
    list.add("watch.metrics", watch.metrics.as_ref());
    let alerts = &settings.alerts;
    // Whoever knows the whole address may write to it.
    let address = |webhook: &Setting<Webhook>| Setting::new(webhook.value.shown().to_owned(), webhook.origin.clone());
    list.add("alerts.webhook", alerts.webhook.as_ref().map(address).as_ref());
    list.add("alerts.command", alerts.command.as_ref().map(program).as_ref());
    list.add("alerts.log", alerts.log.as_ref());
    list.add("alerts.heartbeat", alerts.heartbeat.as_ref().map(address).as_ref());
    let level = alerts.level.as_ref().map(|level| Setting::new(level.value.as_str(), level.origin.clone()));
    list.add("alerts.level", Some(&origin_of(level.as_ref(), "warning")));
    list.add("alerts.all_environments", Some(&origin_of(alerts.all_environments.as_ref(), false)));
    let gcp = &settings.gcp;
    list.add("gcp.project", gcp.project.as_ref());
    list.add("gcp.zone", gcp.zone.as_ref());
    list.add("gcp.instance", gcp.instance.as_ref());
    list.add("gcp.database", gcp.database.as_ref());
    list.add("gcp.user", gcp.user.as_ref());
    list.add("gcp.tunnel_port", gcp.tunnel_port.as_ref());
    list.add("gcp.port", gcp.port.as_ref());
    list.add("gcp.tunnel", gcp.tunnel.as_ref());
    list.add("gcp.relay", gcp.relay.as_ref());
    let shown = |parameters: &Setting<Secret>| {
        Setting::new(mask(&format!("?{}", parameters.value.expose())), parameters.origin.clone())
    };
    list.add("gcp.parameters", gcp.parameters.as_ref().map(shown).as_ref());
    list.add("gcp.secret_manager", gcp.secret_manager.as_ref());
    let variable = |name, set: bool, value| set.then(|| Setting::new(value, Origin::Variable(name)));
    list.add("PGPASSWORD", variable("PGPASSWORD", settings.password.is_some(), MASK).as_ref());
    list.add("NO_COLOR", variable("NO_COLOR", settings.no_color, "set").as_ref());
    list.0
}

/// What is set, or what holds without that.
fn origin_of<T: Clone>(set: Option<&Setting<T>>, default: T) -> Setting<T> {
    set.cloned().unwrap_or_else(|| Setting::default(default))
}

struct List(Vec<Entry>);

impl List {
    fn add<T: Display>(&mut self, key: &str, setting: Option<&Setting<T>>) {
        self.0.push(Entry {
            key: key.to_owned(),
            value: setting.map(|setting| setting.value.to_string()),
            origin: setting.map_or_else(|| "not set".to_owned(), |setting| setting.origin.to_string()),
        });
    }

    /// Thresholds; without defaults only those that are set.
    fn add_limits(&mut self, name: &str, limits: &Limits, defaults: Option<Thresholds>) {
        let mut add = |key: &str, said: Option<Setting<String>>, default: Option<String>| {
            if let Some(setting) = said.or(default.map(Setting::default)) {
                self.add(&format!("{name}.{key}"), Some(&setting));
            }
        };
        let spans = |pair: &(Option<Setting<Span>>, Option<Setting<Span>>)| {
            let text = |setting: &Setting<Span>| Setting::new(setting.value.to_string(), setting.origin.clone());
            (pair.0.as_ref().map(text), pair.1.as_ref().map(text))
        };
        let rate = |setting: &Setting<f64>| Setting::new(setting.value.to_string(), setting.origin.clone());
        let default = |span: fn(Thresholds) -> Duration| defaults.map(|defaults| Span(span(defaults)).to_string());
        let (warning, critical) = spans(&limits.duration);
        add("duration_warning", warning, default(|usual| usual.duration.warning));
        add("duration_critical", critical, default(|usual| usual.duration.critical));
        let (warning, critical) = &limits.failure_rate;
        let usual = defaults.map(|usual| usual.failure_rate);
        add("failure_rate_warning", warning.as_ref().map(rate), usual.map(|usual| usual.warning.to_string()));
        add("failure_rate_critical", critical.as_ref().map(rate), usual.map(|usual| usual.critical.to_string()));
        let (warning, critical) = spans(&limits.age);
        add("age_warning", warning, default(|usual| usual.age.warning));
        add("age_critical", critical, default(|usual| usual.age.critical));
    }

    fn add_list(&mut self, key: &str, setting: &Setting<Vec<String>>, empty: &str) {
        let text = if setting.value.is_empty() { empty.to_owned() } else { setting.value.join(", ") };
        self.add(key, Some(&Setting::new(text, setting.origin.clone())));
    }
}
