//! Credentials that agents wrote into their memories, taken out before they leave.
//!
//! [`Redact`] is a [`Transform`]: what looks like a credential becomes
//! `[redacted:KIND]`. The same memory always becomes the same, so nothing changes from one
//! sync to the next. In a key, where two records must not become one, a number made of what
//! was there follows the kind.
//!
//! It finds keys and tokens of the common providers by their form, private keys, passwords
//! in URLs, and values after names such as `password=` or `"api_key":`.
//!
//! # What it cannot find
//!
//! A password in prose ("it is the name of my cat"), credentials of a form that nobody
//! documented and without a name in front, ones that are split over several values, encoded
//! (base64, hexadecimal), or inside bytes that are no text. It is a net, not a wall: what
//! must not leave a machine should not be in an agent's memory.

mod rules;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};
use regex::{Captures, Regex};
use xxhash_rust::xxh3::xxh3_64;

use crate::record::{DeadLetter, Record};
use crate::transform::Transform;
use crate::{Error, ErrorKind, Json, Result, Row, StreamSpec, TableSpec, Value};
use rules::{PATTERNS, RULES};

/// Changes with the rules, so that what was synced under others is looked at again.
const VERSION: u64 = 1;

/// Where a rule may have something to look at: all needles of all rules at once.
static NEEDLES: LazyLock<(AhoCorasick, Vec<usize>)> = LazyLock::new(|| {
    let (mut needles, mut rules): (Vec<&str>, Vec<usize>) = Default::default();
    for (position, rule) in RULES.iter().enumerate() {
        needles.extend_from_slice(rule.needles);
        rules.extend(rule.needles.iter().map(|_| position));
    }
    let mut builder = AhoCorasick::builder();
    builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard);
    // Built from constants only; a test builds it.
    (builder.build(needles).expect("the needles are well-formed"), rules)
});

/// Takes credentials out of records.
///
/// ```
/// use aqe_sync_core::redact::Redact;
///
/// let redact = Redact::new();
/// let text = redact.text("postgres://app:hunter2@db/main");
/// assert_eq!(text.unwrap(), "postgres://app:[redacted:url-password]@db/main");
/// assert_eq!(redact.text("nothing to hide"), None);
/// ```
#[derive(Debug, Default)]
pub struct Redact {
    skipped: BTreeSet<String>,
    tables: BTreeSet<String>,
    extra: Vec<Regex>,
    replaced: Arc<AtomicU64>,
}

impl Redact {
    /// With all rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// The kinds that there are.
    pub fn kinds() -> BTreeSet<&'static str> {
        RULES.iter().map(|rule| rule.name).collect()
    }

    /// Leaves a kind alone.
    ///
    /// # Errors
    /// When there is no such kind.
    pub fn without(mut self, kind: &str) -> Result<Self> {
        let known = Self::kinds();
        if !known.contains(kind) {
            let known: Vec<&str> = known.into_iter().collect();
            return Err(Error::new(ErrorKind::Invalid, format!("there is no kind of credential {kind:?}"))
                .advice(format!("known are {}", known.join(", "))));
        }
        self.skipped.insert(kind.to_owned());
        Ok(self)
    }

    /// Leaves the records of a hub table alone; dead letters are looked through all the same.
    #[must_use]
    pub fn without_table(mut self, table: impl Into<String>) -> Self {
        self.tables.insert(table.into());
        self
    }

    /// Replaces also what matches a pattern: its group `s`, or all of it. The syntax is
    /// that of the crate `regex`, which needs time linear in the text.
    ///
    /// # Errors
    /// When it is no pattern, or matches nothing at all.
    pub fn with_pattern(mut self, pattern: &str) -> Result<Self> {
        let invalid = |problem: String| Error::new(ErrorKind::Invalid, problem);
        let regex = Regex::new(pattern).map_err(|error| invalid(format!("not a pattern: {error}")))?;
        if regex.is_match("") {
            return Err(invalid(format!("the pattern {pattern:?} matches empty text, and so everywhere")));
        }
        self.extra.push(regex);
        Ok(self)
    }

    /// How many credentials were replaced so far; it goes on counting.
    pub fn replaced(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.replaced)
    }

    /// Text without credentials; `None` when there are none.
    pub fn text(&self, text: &str) -> Option<String> {
        self.replace(text, false)
    }

    /// A value without credentials; `None` when there are none.
    pub fn value(&self, value: &Value) -> Option<Value> {
        self.redacted(value, false)
    }

    /// A row of a hub table without credentials; `None` when there are none.
    pub fn row(&self, table: &TableSpec, row: &Row) -> Option<Row> {
        if self.tables.contains(table.name().as_str()) {
            return None;
        }
        let mut values = row.values.clone();
        let mut found = false;
        for (column, value) in table.columns().iter().zip(&mut values) {
            let Some(redacted) = self.redacted(value, is_key(table, column.name.as_str())) else { continue };
            (*value, found) = (redacted, true);
        }
        let extra = row.extra.as_ref().and_then(|extra| self.text(extra.as_str()));
        (found || extra.is_some())
            .then(|| Row::new(table, values, extra.map(Json::from_text).or_else(|| row.extra.clone())))
    }

    fn replace(&self, text: &str, in_key: bool) -> Option<String> {
        let mut found = [false; RULES.len()];
        let (needles, rules) = &*NEEDLES;
        for hit in needles.find_overlapping_iter(text) {
            found[rules[hit.pattern().as_usize()]] = true;
        }
        let mut text = Cow::Borrowed(text);
        for (position, rule) in RULES.iter().enumerate() {
            if found[position] && !self.skipped.contains(rule.name) {
                let hides = |value: &str| rule.judged.is_none_or(|judge| judge.hides(value));
                self.apply_pattern(&PATTERNS[position], rule.name, &hides, in_key, &mut text);
            }
        }
        for pattern in &self.extra {
            self.apply_pattern(pattern, "custom", &|_| true, in_key, &mut text);
        }
        match text {
            Cow::Owned(text) => Some(text),
            Cow::Borrowed(_) => None,
        }
    }

    fn apply_pattern(
        &self,
        pattern: &Regex,
        kind: &str,
        hides: &dyn Fn(&str) -> bool,
        in_key: bool,
        text: &mut Cow<'_, str>,
    ) {
        let mut changed = 0;
        let replaced = pattern.replace_all(text, |captures: &Captures<'_>| {
            let all = &captures[0];
            let Some(secret) = captures.name("s").or_else(|| captures.get(0)) else { return all.to_owned() };
            if secret.is_empty() || is_marker(secret.as_str()) || !hides(secret.as_str()) {
                return all.to_owned();
            }
            changed += 1;
            // Two keys must not become one.
            let number =
                if in_key { format!(":{:08x}", xxh3_64(secret.as_str().as_bytes()) >> 32) } else { String::new() };
            let start = captures.get(0).map_or(0, |whole| whole.start());
            let (before, after) = (secret.start() - start, secret.end() - start);
            format!("{}[redacted:{kind}{number}]{}", &all[..before], &all[after..])
        });
        if changed > 0 {
            let replaced = replaced.into_owned();
            self.replaced.fetch_add(changed, Ordering::Relaxed);
            *text = Cow::Owned(replaced);
        }
    }

    fn redacted(&self, value: &Value, in_key: bool) -> Option<Value> {
        match value {
            Value::Text(text) => self.replace(text, in_key).map(Value::Text),
            Value::Json(json) => Some(Value::Json(Json::from_text(self.replace(json.as_str(), in_key)?))),
            Value::RawText(bytes) => {
                // What is not UTF-8 has no place in a credential: the valid runs are looked through.
                let (mut redacted, mut found) = (Vec::with_capacity(bytes.len()), false);
                for chunk in bytes.utf8_chunks() {
                    let replaced = self.replace(chunk.valid(), in_key);
                    found |= replaced.is_some();
                    redacted.extend_from_slice(replaced.as_deref().unwrap_or(chunk.valid()).as_bytes());
                    redacted.extend_from_slice(chunk.invalid());
                }
                found.then_some(Value::RawText(redacted))
            }
            _ => None,
        }
    }

    fn redact(&self, value: &mut Value, in_key: bool) {
        if let Some(redacted) = self.redacted(value, in_key) {
            *value = redacted;
        }
    }
}

fn is_key(table: &TableSpec, name: &str) -> bool {
    table.key_columns().iter().any(|key| key.name.as_str() == name)
}

/// Markers stay what they are.
fn is_marker(text: &str) -> bool {
    text.starts_with("[redacted:")
}

impl Transform for Redact {
    fn apply(&self, stream: &StreamSpec, mut record: Record, out: &mut Vec<Record>) -> Result<()> {
        let table = &stream.table;
        if !self.tables.contains(table.name().as_str()) {
            let schema = Arc::clone(record.schema());
            for (field, value) in schema.fields().iter().zip(record.values_mut()) {
                self.redact(value, is_key(table, field));
            }
            for (field, value) in &mut record.extra {
                self.redact(value, is_key(table, field));
            }
            if let Some(extra) = record.row_extra_mut()
                && let Some(redacted) = self.text(extra.as_str())
            {
                *extra = Json::from_text(redacted);
            }
        }
        out.push(record);
        Ok(())
    }

    fn letter(&self, letter: DeadLetter) -> DeadLetter {
        let redacted = |text: String| self.text(&text).unwrap_or(text);
        let record = self.text(letter.record.as_str()).map_or(letter.record, Json::from_text);
        DeadLetter { key: redacted(letter.key), reason: redacted(letter.reason), record }
    }

    fn in_place(&self) -> Option<u64> {
        let mut rules = format!("{VERSION}");
        rules.extend(self.skipped.iter().map(|kind| format!("\u{1f}-{kind}")));
        rules.extend(self.tables.iter().map(|table| format!("\u{1f}={table}")));
        rules.extend(self.extra.iter().map(|pattern| format!("\u{1f}+{pattern}")));
        Some(xxh3_64(rules.as_bytes()))
    }

    fn notes(&self) -> Vec<String> {
        match self.replaced.load(Ordering::Relaxed) {
            0 => Vec::new(),
            1 => vec!["one credential was found in what was read; the hub gets a marker instead".to_owned()],
            count => vec![format!("{count} credentials were found in what was read; the hub gets markers instead")],
        }
    }
}
