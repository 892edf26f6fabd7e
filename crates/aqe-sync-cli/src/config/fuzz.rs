//! The configuration file, hub URLs and masking, fed with mutations of what people write.

use std::path::Path;

use aqe_sync_core::PolicySpec;
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target};

use super::file::parse;
use super::hub::Hub;
use super::secret::{MASK, mask};

/// What nothing may show. Mutations may break it, but not make it.
const PASSWORD: &str = "Zq7Xw9Kp4";

const FILES: [&str; 9] = [
    "[redact]\nenabled = true\nallow = [\"jwt\"]\nallow_tables = [\"events\"]\npatterns = ['ACME-(?P<s>[0-9]{6})']\n",
    "[pull]\ntables = [\"qe_patterns\", \"events\"]\nmin_confidence = 0.5\nmin_environments = 2\n",
    "env = \"laptop\"\nhub = \"postgres://me:Zq7Xw9Kp4@hub.example/fleet?sslmode=verify-full\"\nallow_mass_delete = true\n",
    "[sources]\ninclude = [\"v3\", \"packages/web\"]\nexclude = ['*.json']\n\n[batch]\nrows = 1_000\nbytes = 0x100000\n",
    "[tables.events]\ndeletes = \"ignore\"\n[tables.qe_patterns]\npolicy = \"first_of(higher_confidence, newer_wins)\"\n",
    "[gcp]\nproject = \"p\"\nzone = \"z\"\ninstance = \"i\"\ndatabase = \"fleet\"\nuser = \"me\"\ntunnel_port = 15432\nport = 5433\n\
     tunnel = \"iap\"\nrelay = \"wss://r/v4\"\nparameters = \"sslmode=require\"\n",
    "[postgres]\nschema = \"aqe\"\nvectors = \"auto\"\nvector_index = false\nconnections = 2\npassword = \"gcp-secret://p/s/1\"\n",
    "[postgres]\npassword_command = [\"pass\", \"show\", \"hub\"]\n[gcp]\nsecret_manager = \"https://sm.example\"\n",
    "# nothing\nhub = \"sqlite:.aqe-sync/hub.db\"\nsources = { include = [\"a\"], exclude = [] }\ntables.events.policy = \"immutable\"\n",
];

const WORDS: [&str; 26] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\"",
    "'''",
    "\"\"\"",
    ",",
    ".",
    "\n",
    "\r",
    "#",
    "\\u0000",
    "\\",
    "env",
    "hub",
    "[tables.",
    "policy = ",
    "first_of(",
    "1979-05-27T07:32:00Z",
    "0x",
    "inf",
    "ü",
];

#[test]
fn config_file() {
    let corpus = Corpus::new().text().with_past_failures("config_file").words(WORDS);
    let corpus = FILES.iter().fold(corpus, |corpus, text| corpus.with(*text, *text));
    Target::new("config_file", corpus).at_least(2_000).share_past(5).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let home = Path::new("/home/me");
        match parse(&text, Path::new("aqe-sync.toml"), Path::new("/project"), Some(home)) {
            Err(failure) => {
                names_its_line(&failure.message, &text);
                assert!(!is_login(&text) || !failure.message.contains(PASSWORD), "{}", failure.message);
                Reached::Refused
            }
            Ok(layer) => {
                if let Some(hub) = &layer.hub {
                    let shown = format!("{} {:?}", hub.value, hub.value);
                    assert!(!is_login(&text) || !shown.contains(PASSWORD), "{shown}");
                }
                for table in layer.tables.values() {
                    if let Some(policy) = &table.policy {
                        let again: PolicySpec = policy.value.to_string().parse().expect("its own spelling");
                        assert_eq!(again, policy.value);
                    }
                }
                assert!(layer.batch_rows.is_none_or(|rows| rows.value > 0));
                assert!(layer.gcp.tunnel_port.is_none_or(|port| port.value > 0));
                Reached::Past
            }
        }
    });
}

/// Whether the password stands where one belongs, and nowhere else.
fn is_login(text: &str) -> bool {
    text.contains(&format!("://me:{PASSWORD}@")) && text.matches(PASSWORD).count() == 1
}

/// `aqe-sync.toml, line 3: what is wrong`.
fn names_its_line(message: &str, text: &str) {
    let line = message.strip_prefix("aqe-sync.toml, line ").and_then(|rest| rest.split_once(": "));
    let (line, problem) = line.unwrap_or_else(|| panic!("no line in {message:?}"));
    let line: usize = line.parse().unwrap_or_else(|_| panic!("no line in {message:?}"));
    assert!((1..=text.bytes().filter(|byte| *byte == b'\n').count() + 1).contains(&line), "{message:?}");
    assert!(!problem.trim().is_empty());
}

#[test]
fn hub_setting() {
    let urls = [
        "postgres://me:Zq7Xw9Kp4@hub.example/fleet?sslmode=verify-full",
        "postgresql://me:Zq7Xw9Kp4@[::1]:5432/fleet",
        "sqlite:.aqe-sync/hub.db",
        "sqlite:~/hub.db",
        "sqlite:///data/hub.db",
        "host=h user=me password='Zq7Xw9Kp4' dbname=d",
        "postgres://hub/fleet?user=me&password=Zq7Xw9Kp4&sslmode=require",
    ];
    let corpus = Corpus::new().with_past_failures("hub_setting").words([
        "@",
        ":",
        "//",
        "/",
        "?",
        "&",
        "=",
        "%",
        "sqlite:",
        "password=",
        "'",
        "\\",
        "ü",
        "~/",
    ]);
    let corpus = urls.iter().fold(corpus, |corpus, url| corpus.with_any(*url, *url));
    Target::new("hub_setting", corpus).at_least(5_000).share_past(5).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let masked = mask(&text);
        if masked != text {
            assert!(masked.contains(MASK), "{text} is shown as {masked}");
        }
        let login = is_login(&text);
        assert!(!login || !masked.contains(PASSWORD), "{text} is shown as {masked}");
        match Hub::parse(&text, Path::new("/project"), Some(Path::new("/home/me"))) {
            Ok(hub) => {
                let shown = hub.to_string();
                let again = Hub::parse(&shown, Path::new("/project"), Some(Path::new("/home/me")));
                assert_eq!(again.map(|hub| hub.to_string()), Ok(shown));
                Reached::Past
            }
            Err(problem) => {
                assert!(!login || !problem.contains(PASSWORD), "{problem}");
                Reached::Refused
            }
        }
    });
}
