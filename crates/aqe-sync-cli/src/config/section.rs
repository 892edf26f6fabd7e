//! Typed access to the tables of a TOML file; every error names its line.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::secret::{MASK, mask};
use super::setting::{Origin, Setting};
use crate::exit::Failure;

type Value<'a> = Spanned<DeValue<'a>>;

/// The text that positions refer to.
pub(super) struct File<'a> {
    /// All of it.
    pub(super) text: &'a str,
    /// Its path, as it is shown.
    pub(super) path: &'a Path,
}

impl File<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        Origin::File { path: self.path.to_owned(), line: self.line(span) }
    }

    /// An error at a place.
    pub(super) fn problem(&self, span: Range<usize>, problem: &str) -> Failure {
        Failure::usage(format!("{}: {problem}", self.origin(&span)))
    }
}

/// One table of the file.
pub(super) struct Section<'a> {
    /// Where it stands.
    pub(super) file: &'a File<'a>,
    /// Its name; empty at the top.
    pub(super) name: &'a str,
    /// What it holds.
    pub(super) table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Refuses keys that nobody would read.
    pub(super) fn check(&self, known: &[&str]) -> Result<(), Failure> {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let what = if self.name == "tables" { "table" } else { "key" };
            let mut problem = format!("unknown {what} {:?}", mask(&self.path(name)));
            if name.starts_with("password") {
                problem += "; it belongs in [postgres]";
            } else if let Some(nearest) = nearest(name, known) {
                problem = format!("{problem}; did you mean {nearest}?");
            }
            let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            problem = format!("{problem} (known{place}: {})", known.join(", "));
            return Err(self.file.problem(key.span(), &problem));
        }
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&'a Value<'a>> {
        self.table.get(key)
    }

    fn wrong<T>(&self, key: &str, value: &Value<'_>, problem: &str) -> Result<T, Failure> {
        Err(self.file.problem(value.span(), &format!("{}: {problem}", self.path(key))))
    }

    fn expected<T>(&self, key: &str, value: &Value<'_>, expected: &str) -> Result<T, Failure> {
        self.wrong(key, value, &format!("expected {expected}, found {}", kind(value.get_ref())))
    }

    /// A table in this one, whose keys are all known.
    pub(super) fn section(&self, key: &'a str, known: &[&str]) -> Result<Option<Section<'a>>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(table) = value.get_ref().as_table() else {
            return self.expected(key, value, "a table");
        };
        let section = Section { file: self.file, name: key, table };
        section.check(known)?;
        Ok(Some(section))
    }

    /// A table in this one, whose keys are names that anybody may choose.
    pub(super) fn any_section(&self, key: &'a str) -> Result<Option<Section<'a>>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.get_ref().as_table() {
            Some(table) => Ok(Some(Section { file: self.file, name: key, table })),
            None => self.expected(key, value, "a table"),
        }
    }

    /// The keys that are set.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.table.keys().map(|key| key.get_ref().as_ref())
    }

    fn setting<T>(&self, value: &Value<'_>, found: T) -> Setting<T> {
        Setting::new(found, self.file.origin(&value.span()))
    }

    /// Text that means something.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<Setting<T>>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(text) = value.get_ref().as_str() else {
            return self.expected(key, value, "text in quotes");
        };
        match parse(text) {
            Ok(found) => Ok(Some(self.setting(value, found))),
            Err(problem) => self.wrong(key, value, &mask_within(&problem, text)),
        }
    }

    /// True or false.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<Setting<bool>>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.get_ref().as_bool() {
            Some(found) => Ok(Some(self.setting(value, found))),
            None => self.expected(key, value, "true or false"),
        }
    }

    fn number<T: TryFrom<i64>>(&self, key: &str, expected: &str) -> Result<Option<Setting<T>>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(number) = value.get_ref().as_integer() else {
            return self.expected(key, value, expected);
        };
        let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| *number > 0);
        match parsed.and_then(|number| T::try_from(number).ok()) {
            Some(found) => Ok(Some(self.setting(value, found))),
            None => self.wrong(key, value, &format!("expected {expected}, found {}", number.as_str())),
        }
    }

    /// A number of things.
    pub(super) fn count(&self, key: &str) -> Result<Option<Setting<usize>>, Failure> {
        self.number(key, "a whole number greater than 0")
    }

    /// A port.
    pub(super) fn port(&self, key: &str) -> Result<Option<Setting<u16>>, Failure> {
        self.number(key, "a port from 1 to 65535")
    }

    /// A number from 0 to 1.
    pub(super) fn share(&self, key: &str) -> Result<Option<Setting<f64>>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            _ => return self.expected(key, value, "a number from 0 to 1"),
        };
        match number.filter(|number| (0.0..=1.0).contains(number)) {
            Some(found) => Ok(Some(self.setting(value, found))),
            None => self.wrong(key, value, "expected a number from 0 to 1"),
        }
    }

    /// A list of text.
    pub(super) fn list(&self, key: &str) -> Result<Option<Setting<Vec<String>>>, Failure> {
        self.list_of(key, |_| Ok(()))
    }

    /// A list of text that means something.
    pub(super) fn list_of(
        &self,
        key: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Option<Setting<Vec<String>>>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(items) = value.get_ref().as_array() else {
            return self.expected(key, value, "a list of text");
        };
        let mut list = Vec::new();
        for item in items {
            match item.get_ref().as_str() {
                Some(text) if !text.trim().is_empty() => match check(text) {
                    Ok(()) => list.push(text.to_owned()),
                    Err(problem) => return self.wrong(key, item, &mask_within(&problem, text)),
                },
                Some(_) => return self.wrong(key, item, "an item is empty"),
                None => return self.expected(key, item, "text in quotes"),
            }
        }
        Ok(Some(self.setting(value, list)))
    }
}

/// A value may be a URL that was put under the wrong key.
fn mask_within(problem: &str, value: &str) -> String {
    if !(value.contains("://") || value.contains('@')) {
        return problem.to_owned();
    }
    if problem.contains(value) {
        return problem.replace(value, &mask(value));
    }
    // Repeated in part or in another spelling, a password cannot be told from the rest.
    match (problem.find('"'), problem.rfind('"')) {
        (Some(start), Some(end)) => format!("{}\"{MASK}{}", &problem[..start], &problem[end..]),
        _ => problem.to_owned(),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
