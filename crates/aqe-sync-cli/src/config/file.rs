//! The configuration file: every key is known, all others are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aqe_cloud::secret::{Secret, SecretName};
use aqe_sync_core::redact::Redact;
use aqe_sync_core::report::describe;
use aqe_sync_core::{Deletes, Environment, Identifier, PolicySpec, tables};
use toml::de::DeTable;

use super::alerts::{ALERTS, AlertsLayer};
use super::hub::Hub;
use super::layer::{EmbedLayer, PostgresLayer, PullLayer, RedactLayer};
use super::monitor::{MONITOR, MonitorLayer};
use super::nearest::nearest;
use super::secret::mask;
use super::section::{File, Section};
use super::watch::{WATCH, WatchLayer};
use super::{GcpLayer, Layer, TableSettings};
use crate::exit::Failure;

const TOP: [&str; 14] = [
    "env",
    "hub",
    "sources",
    "tables",
    "batch",
    "allow_mass_delete",
    "gcp",
    "postgres",
    "pull",
    "redact",
    "embed",
    "monitor",
    "watch",
    "alerts",
];
const EMBED: [&str; 4] = ["on_sync", "model_dir", "download", "url"];
const PULL: [&str; 3] = ["tables", "min_confidence", "min_environments"];
const REDACT: [&str; 4] = ["enabled", "allow", "allow_tables", "patterns"];
const SOURCES: [&str; 2] = ["include", "exclude"];
const TABLE: [&str; 2] = ["policy", "deletes"];
const BATCH: [&str; 2] = ["rows", "bytes"];
const POSTGRES: [&str; 8] = [
    "schema",
    "vectors",
    "vector_index",
    "connections",
    "far",
    "password",
    "password_command",
    // As other tools spell it.
    "password-command",
];
const VECTORS: [&str; 4] = ["auto", "ruvector", "pgvector", "none"];
const GCP: [&str; 11] = [
    "project",
    "zone",
    "instance",
    "port",
    "tunnel",
    "tunnel_port",
    "relay",
    "parameters",
    "database",
    "user",
    "secret_manager",
];

/// Reads a configuration file.
///
/// # Errors
/// Usage errors that name file, line and key.
pub(super) fn read(path: &Path, root: &Path, home: Option<&Path>) -> Result<Layer, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    parse(&text, path.strip_prefix(root).unwrap_or(path), root, home)
}

pub(super) fn parse(text: &str, path: &Path, root: &Path, home: Option<&Path>) -> Result<Layer, Failure> {
    let file = File { text, path };
    // The parser's own display would repeat the line, which may hold a password.
    let parsed = DeTable::parse(text).map_err(|error| {
        file.problem(error.span().unwrap_or(0..0), &format!("not valid TOML: {}", mask(error.message())))
    })?;
    let top = Section { file: &file, name: "", table: parsed.get_ref() };
    top.check(&TOP)?;
    let sources = top.section("sources", &SOURCES)?;
    let batch = top.section("batch", &BATCH)?;
    let gcp = top.section("gcp", &GCP)?;
    Ok(Layer {
        environment: top.parsed("env", |text| Environment::parse(text).map_err(|error| error.message().to_owned()))?,
        hub: top.parsed("hub", |text| Hub::parse(text, root, home))?,
        include: optional(sources.as_ref(), |section| section.list("include"))?,
        exclude: optional(sources.as_ref(), |section| section.list("exclude"))?,
        tables: table_settings(&top)?,
        batch_rows: optional(batch.as_ref(), |section| section.count("rows"))?,
        batch_bytes: optional(batch.as_ref(), |section| section.count("bytes"))?,
        allow_mass_delete: top.boolean("allow_mass_delete")?,
        gcp: match gcp {
            Some(section) => gcp_layer(&section)?,
            None => GcpLayer::default(),
        },
        postgres: match top.section("postgres", &POSTGRES)? {
            Some(section) => postgres_layer(&section)?,
            None => PostgresLayer::default(),
        },
        pull: match top.section("pull", &PULL)? {
            Some(section) => pull_layer(&section)?,
            None => PullLayer::default(),
        },
        redact: match top.section("redact", &REDACT)? {
            Some(section) => redact_layer(&section)?,
            None => RedactLayer::default(),
        },
        embed: match top.section("embed", &EMBED)? {
            Some(section) => EmbedLayer {
                on_sync: section.boolean("on_sync")?,
                model_dir: section.parsed("model_dir", |text| folder(text, root, home))?,
                download: section.boolean("download")?,
                url: section.parsed("url", address)?,
            },
            None => EmbedLayer::default(),
        },
        monitor: match top.section("monitor", &MONITOR)? {
            Some(section) => MonitorLayer::read(&section)?,
            None => MonitorLayer::default(),
        },
        watch: match top.section("watch", &WATCH)? {
            Some(section) => WatchLayer::read(&section)?,
            None => WatchLayer::default(),
        },
        alerts: match top.section("alerts", &ALERTS)? {
            Some(section) => AlertsLayer::read(&section)?,
            None => AlertsLayer::default(),
        },
    })
}

fn optional<T>(
    section: Option<&Section<'_>>,
    get: impl FnOnce(&Section<'_>) -> Result<Option<T>, Failure>,
) -> Result<Option<T>, Failure> {
    section.map_or(Ok(None), get)
}

/// A folder: relative to the root, or to the home folder.
fn folder(text: &str, root: &Path, home: Option<&Path>) -> Result<PathBuf, String> {
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Ok(home.join(rest)),
        (Some(_), None) => Err("~/ cannot be expanded, as there is no home directory: give the whole path".to_owned()),
        (None, _) if text.trim().is_empty() => Err("a folder has a name".to_owned()),
        (None, _) => Ok(root.join(text)),
    }
}

/// Where the model is fetched from. No secret belongs in it, as it is shown.
fn address(text: &str) -> Result<String, String> {
    if text.contains('@') {
        return Err("the address of the model takes no user and no password".to_owned());
    }
    Ok(text.to_owned())
}

fn gcp_layer(section: &Section<'_>) -> Result<GcpLayer, Failure> {
    let text = |key| section.parsed(key, |text| Ok(text.to_owned()));
    Ok(GcpLayer {
        project: text("project")?,
        zone: text("zone")?,
        instance: text("instance")?,
        database: text("database")?,
        user: text("user")?,
        tunnel_port: section.port("tunnel_port")?,
        port: section.port("port")?,
        tunnel: section.parsed("tunnel", str::parse)?,
        relay: text("relay")?,
        parameters: section.parsed("parameters", |text| Ok(Secret::new(text)))?,
        secret_manager: text("secret_manager")?,
    })
}

fn postgres_layer(section: &Section<'_>) -> Result<PostgresLayer, Failure> {
    let vectors = |text: &str| {
        let known = VECTORS.contains(&text).then(|| text.to_owned());
        known.ok_or_else(|| format!("{text:?} is none of {}", VECTORS.join(", ")))
    };
    let password = section.parsed("password", secret_name)?;
    let password_command = match section.list("password_command")? {
        Some(words) => Some(words),
        None => section.list("password-command")?,
    };
    if let (Some(_), Some(command)) = (&password, &password_command) {
        let problem = "postgres.password and postgres.password_command are both set: keep one";
        return Err(Failure::usage(format!("{}: {problem}", command.origin)));
    }
    Ok(PostgresLayer {
        schema: section.parsed("schema", |text| Identifier::new(text).map_err(|error| error.message().to_owned()))?,
        vectors: section.parsed("vectors", vectors)?,
        vector_index: section.boolean("vector_index")?,
        connections: section.count("connections")?,
        far: section.boolean("far")?,
        password,
        password_command,
    })
}

fn secret_name(text: &str) -> Result<SecretName, String> {
    if !SecretName::is_meant(text) {
        return Err("a password is not kept in this file: use PGPASSWORD, ~/.pgpass or password_command, or name a \
                    secret of Google Secret Manager as gcp-secret://PROJECT/SECRET"
            .to_owned());
    }
    text.parse().map_err(|error| describe(&error))
}

fn pull_layer(section: &Section<'_>) -> Result<PullLayer, Failure> {
    Ok(PullLayer {
        tables: section.list_of("tables", hub_table)?,
        min_confidence: section.share("min_confidence")?,
        min_environments: section.count("min_environments")?,
    })
}

fn hub_table(name: &str) -> Result<(), String> {
    if tables::find(name).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = tables::all().iter().map(|table| table.name().as_str()).collect();
    let nearest = nearest(name, &known).map(|nearest| format!("; did you mean {nearest}?"));
    Err(format!("there is no hub table {name:?}{}", nearest.unwrap_or_default()))
}

fn redact_layer(section: &Section<'_>) -> Result<RedactLayer, Failure> {
    let checked = |tried: aqe_sync_core::Result<Redact>| tried.map(drop).map_err(|error| describe(&error));
    Ok(RedactLayer {
        enabled: section.boolean("enabled")?,
        allow: section.list_of("allow", |kind| checked(Redact::new().without(kind)))?,
        allow_tables: section.list_of("allow_tables", hub_table)?,
        patterns: section.list_of("patterns", |pattern| checked(Redact::new().with_pattern(pattern)))?,
    })
}

fn table_settings(top: &Section<'_>) -> Result<BTreeMap<String, TableSettings>, Failure> {
    let mut settings = BTreeMap::new();
    let known: Vec<&str> = tables::all().iter().map(|table| table.name().as_str()).collect();
    let Some(all) = top.section("tables", &known)? else {
        return Ok(settings);
    };
    for name in known {
        let Some(table) = all.section(name, &TABLE)? else {
            continue;
        };
        let policy = table.parsed("policy", |text| text.parse::<PolicySpec>().map_err(|error| format!("{error}")))?;
        let deletes = table.parsed("deletes", |text| match text {
            "tombstone" => Ok(Deletes::Tombstone),
            "ignore" => Ok(Deletes::Ignore),
            _ => Err(format!("{text:?} is neither \"tombstone\" nor \"ignore\"")),
        })?;
        settings.insert(name.to_owned(), TableSettings { policy, deletes });
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Layer, Failure> {
        parse(text, Path::new("aqe-sync.toml"), Path::new("/project"), None)
    }

    #[test]
    fn every_key_is_read() {
        let layer = parse_text(
            r#"
            env = "laptop"
            hub = "sqlite:hub.db"
            allow_mass_delete = true
            sources = { include = ["v3"], exclude = ["*.json"] }
            [tables.events]
            deletes = "ignore"
            [tables.qe_patterns]
            policy = "first_of(higher_confidence, newer_wins)"
            [batch]
            rows = 1_000
            bytes = 0x100000
            [gcp]
            tunnel_port = 15432
            tunnel = "gcloud"
            port = 5433
            relay = "wss://relay.example/v4"
            parameters = "sslmode=require"
            "#,
        )
        .expect("valid");
        assert_eq!(layer.environment.expect("set").value.as_str(), "laptop");
        assert_eq!(layer.include.expect("set").value, ["v3"]);
        assert_eq!(layer.exclude.expect("set").value, ["*.json"]);
        assert_eq!(layer.batch_rows.expect("set").value, 1_000);
        assert_eq!(layer.batch_bytes.expect("set").value, 1 << 20);
        assert!(layer.allow_mass_delete.expect("set").value);
        assert_eq!(layer.gcp.tunnel_port.expect("set").value, 15_432);
        assert_eq!(layer.tables["events"].deletes.as_ref().expect("set").value, Deletes::Ignore);
        let policy = layer.tables["qe_patterns"].policy.as_ref().expect("set");
        assert_eq!(policy.value.to_string(), "first_of(higher_confidence, newer_wins)");
    }

    #[test]
    fn errors_name_the_file_the_line_the_key_and_the_nearest_known_one() {
        for (text, parts) in [
            ("\nenvironment = \"x\"", vec!["line 2", "\"environment\"", "(known: env, hub"]),
            ("[sources]\ninclde = []", vec!["line 2", "\"sources.inclde\"", "did you mean include?"]),
            (
                "[tables.event]\n",
                vec!["line 1", "unknown table \"tables.event\"", "did you mean events?", "goap_plans"],
            ),
            ("[tables.events]\npolcy = \"x\"", vec!["line 2", "polcy", "did you mean policy?"]),
            ("[tables.events]\npolicy = \"x\"", vec!["line 2", "not a conflict policy", "newer_wins"]),
            ("[tables.events]\ndeletes = \"x\"", vec!["line 2", "tombstone"]),
            ("env = 1", vec!["line 1", "env: expected text in quotes, found a whole number"]),
            ("[batch]\nrows = 0", vec!["line 2", "rows: expected a whole number greater than 0, found 0"]),
            ("[batch]\nrows = \"1\"", vec!["line 2", "found text"]),
            ("[gcp]\ntunnel = \"vpn\"", vec!["line 2", "gcp.tunnel", "iap, gcloud, forwarded, direct"]),
            ("[gcp]\ntunnel_port = 70000", vec!["line 2", "a port from 1 to 65535"]),
            ("batch = 1", vec!["line 1", "expected a table"]),
            ("allow_mass_delete = \"yes\"", vec!["expected true or false, found text"]),
            ("[sources]\nexclude = [1]", vec!["line 2", "exclude"]),
            ("[redact]\nallow = [\"jwts\"]", vec!["line 2", "redact.allow", "\"jwts\"", "known are", "github-token"]),
            ("[redact]\nallow_tables = [\"event\"]", vec!["line 2", "did you mean events?"]),
            ("[redact]\npatterns = [\"(\"]", vec!["line 2", "not a pattern"]),
            ("[postgres]\npassword = \"hunter2\"", vec!["line 2", "postgres.password", "password_command"]),
            ("[postgres]\npassword = \"gcp-secret://hunter2\"", vec!["line 2", "PROJECT/SECRET"]),
            ("[gcp]\npassword = \"hunter2\"", vec!["line 2", "unknown key", "it belongs in [postgres]"]),
            ("[postgres]\npassword_command = \"pass hunter2\"", vec!["line 2", "expected a list of text"]),
            ("[postgres]\npassword = \"gcp-secret://p/s\"\npassword-command = [\"x\"]", vec!["line 3", "keep one"]),
            ("[gcp\n", vec!["line 1", "not valid TOML"]),
        ] {
            let message = parse_text(text).expect_err(text).message;
            assert!(message.starts_with("aqe-sync.toml, line "), "{message}");
            for part in parts {
                assert!(message.contains(part), "{message} lacks {part}");
            }
        }
    }

    #[test]
    fn a_url_under_the_wrong_key_keeps_its_password() {
        for text in [
            "[postgres]\nvectors = \"postgres://u:hunter2@h\"",
            "[tables.events]\npolicy = \"postgres://u:hunter2@h\"",
            "[tables.events]\npolicy = \"first_of(immutable, postgres://u:hunter2@h)\"",
            "[tables.events]\npolicy = \"first_of(immutable, postgres://u:hunter2,x@h)\"",
            "[tables.events]\npolicy = 'postgres://u:\"hunter2\\@h'",
        ] {
            let message = parse_text(text).expect_err(text).message;
            assert!(!message.contains("hunter2") && message.contains("********"), "{message}");
        }
    }
}
