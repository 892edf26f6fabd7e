//! One entry after the other, never the whole tree.

use std::fmt;

use aqe_sync_core::{Error, ErrorKind, Json, Value};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::emit::Stop;
use crate::snapshot::{Snapshot, Span};

/// Where entries are.
#[derive(Clone, Debug)]
pub(super) enum Section {
    /// The members of an object or the elements of an array.
    Inside(Span),
    /// One value, under this key (a JSON string).
    Whole(Box<str>, Span),
}

/// One value with its key.
pub(super) struct Entry {
    /// The position of its [`Section`] among those that are read together.
    pub(super) section: usize,
    /// Its key, as the JSON string it is written as; elements of arrays have none.
    pub(super) key: Option<Box<str>>,
    pub(super) raw: Box<RawValue>,
}

impl Entry {
    /// Its text.
    pub(super) fn json(self) -> Value {
        Value::Json(Json::from_text(Box::<str>::from(self.raw)))
    }
}

/// Hands every entry of the sections to `visit`, in order.
pub(super) fn entries(
    snapshot: &mut Snapshot,
    sections: &[Section],
    visit: &mut dyn FnMut(Entry) -> Result<(), Stop>,
) -> Result<(), Stop> {
    for (section, place) in sections.iter().enumerate() {
        match place {
            Section::Inside(span) => {
                let reader = snapshot.section(*span).map_err(unreadable)?;
                let mut document = serde_json::Deserializer::from_reader(reader);
                each(&mut document, &mut |key, raw| visit(Entry { section, key, raw }))?;
            }
            Section::Whole(key, span) => {
                let raw = whole(snapshot, *span)?;
                visit(Entry { section, key: Some(key.clone()), raw })?;
            }
        }
    }
    Ok(())
}

/// Reads one value whole.
pub(super) fn whole(snapshot: &mut Snapshot, span: Span) -> Result<Box<RawValue>, Error> {
    let reader = snapshot.section(span).map_err(unreadable)?;
    serde_json::from_reader(reader).map_err(unreadable)
}

/// The snapshot was whole and valid: only its own storage can fail now.
pub(super) fn unreadable(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Io, format!("the private copy could not be read back ({cause})")).caused_by(cause)
}

/// Hands the members of an object or the elements of an array to `visit`.
pub(super) fn each<'de, D: Deserializer<'de>>(
    value: D,
    visit: &mut dyn FnMut(Option<Box<str>>, Box<RawValue>) -> Result<(), Stop>,
) -> Result<(), Stop>
where
    D::Error: Send + Sync + 'static,
{
    let mut stopped = None;
    let outcome = Each { visit, stopped: &mut stopped }.deserialize(value);
    match (stopped, outcome) {
        (Some(stop), _) => Err(stop),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(Stop::Failed(unreadable(error))),
    }
}

struct Each<'a> {
    visit: &'a mut dyn FnMut(Option<Box<str>>, Box<RawValue>) -> Result<(), Stop>,
    stopped: &'a mut Option<Stop>,
}

impl Each<'_> {
    fn visit<E: serde::de::Error>(&mut self, key: Option<Box<str>>, raw: Box<RawValue>) -> Result<(), E> {
        (self.visit)(key, raw).map_err(|stop| {
            *self.stopped = Some(stop);
            E::custom("stopped")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Each<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Each<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        // Keys are taken as they are written: JavaScript writes lone surrogates, which no string can hold.
        while let Some(key) = members.next_key::<Box<RawValue>>()? {
            let raw = members.next_value()?;
            self.visit(Some(key.into()), raw)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(raw) = elements.next_element()? {
            self.visit(None, raw)?;
        }
        Ok(())
    }
}

/// The text that a JSON string means; `None` for anything else, and for lone surrogates.
pub(super) fn text_of(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// A JSON string as a value: its text, or, if no text can hold it, itself.
pub(super) fn text_value(json: &str) -> Value {
    text_of(json).map_or_else(|| Value::Json(Json::from_text(json)), Value::Text)
}

/// The members of one entry, taken out by name; what is left is kept as it is.
pub(super) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// The members of an object; `None` if it is none.
    pub(super) fn of(raw: &RawValue) -> Option<Self> {
        if !raw.get().starts_with('{') {
            return None;
        }
        let mut fields = Vec::new();
        let mut document = serde_json::Deserializer::from_str(raw.get());
        let read = each(&mut document, &mut |key, value| {
            let key = key.unwrap_or_default();
            fields.push((text_of(&key).unwrap_or_else(|| key.into_string()), value));
            Ok(())
        });
        read.is_ok().then_some(Self(fields))
    }

    /// The member as JSON; the last of that name, as JavaScript reads it.
    pub(super) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// The member if it is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| text_of(value.get()))
    }

    /// Takes the member out; null if it is not there.
    pub(super) fn take(&mut self, name: &str) -> Value {
        match self.0.iter().rposition(|(field, _)| field == name) {
            Some(position) => Value::Json(Json::from_text(Box::<str>::from(self.0.remove(position).1))),
            None => Value::Null,
        }
    }

    /// Takes the member out if it is the very text that is known already.
    pub(super) fn drop_if(&mut self, name: &str, known: &str) {
        if self.text(name).as_deref() == Some(known) {
            self.take(name);
        }
    }

    /// All that was not taken.
    pub(super) fn rest(self) -> Vec<(String, Value)> {
        let kept = |value: Box<RawValue>| Value::Json(Json::from_text(Box::<str>::from(value)));
        self.0.into_iter().map(|(name, value)| (name, kept(value))).collect()
    }
}
