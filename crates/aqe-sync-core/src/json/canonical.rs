//! What a JSON text means, and whether `jsonb` could keep it.

use std::borrow::Cow;
use std::fmt;

use super::MAX_DEPTH;
use super::number::canonical_number;
use super::scan::{Scanner, StringToken, SyntaxError, unescape};

/// Why `jsonb` could not keep a valid JSON text whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unstorable {
    /// An object names a key twice; only the last one would survive.
    DuplicateKey(String),
    /// A string holds U+0000.
    Nul,
    /// A string holds half a surrogate pair.
    LoneSurrogate(u16),
    /// A number is beyond any numeric type.
    NumberRange,
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    TooDeep,
}

impl fmt::Display for Unstorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateKey(key) => write!(f, "key {key:?} occurs twice in one object"),
            Self::Nul => f.write_str("a string holds U+0000"),
            Self::LoneSurrogate(unit) => {
                write!(f, "a string holds the lone surrogate \\u{unit:04x}")
            }
            Self::NumberRange => f.write_str("a number is out of range"),
            Self::TooDeep => write!(f, "nested deeper than {MAX_DEPTH} levels"),
        }
    }
}

/// The outcome of looking through a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Examined {
    /// JSON that `jsonb` keeps whole; its canonical form was appended.
    Storable,
    /// JSON, but `jsonb` would change or refuse it; nothing was appended.
    Unstorable(Unstorable),
    /// Not JSON at all; nothing was appended.
    Invalid(SyntaxError),
}

/// Checks `text` and appends its canonical form (see the [module](super)) to `out`.
///
/// ```
/// use aqe_sync_core::json::{Examined, examine};
///
/// let (mut a, mut b) = (Vec::new(), Vec::new());
/// assert_eq!(examine(r#"{"x":1.0,"y":[]}"#, &mut a), Examined::Storable);
/// assert_eq!(examine(r#"{ "y": [], "x": 1 }"#, &mut b), Examined::Storable);
/// assert_eq!(a, b);
/// ```
pub fn examine(text: &str, out: &mut Vec<u8>) -> Examined {
    let start = out.len();
    let mut walk = Walk { scanner: Scanner::new(text), problem: None, out };
    let result = walk.value(0).and_then(|()| Ok(walk.scanner.end()?));
    let outcome = match (result, walk.problem) {
        (Err(Stop::Syntax(error)), _) => Examined::Invalid(error),
        (Err(Stop::TooDeep), _) => Examined::Unstorable(Unstorable::TooDeep),
        (Ok(()), Some(problem)) => Examined::Unstorable(problem),
        (Ok(()), None) => return Examined::Storable,
    };
    out.truncate(start);
    outcome
}

enum Stop {
    Syntax(SyntaxError),
    TooDeep,
}

impl From<SyntaxError> for Stop {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

struct Walk<'a, 'o> {
    scanner: Scanner<'a>,
    /// The first thing that `jsonb` could not keep; the walk goes on, so that
    /// a later syntax error still counts as one.
    problem: Option<Unstorable>,
    out: &'o mut Vec<u8>,
}

/// Where one member of an object stands in the output.
struct Member<'a> {
    key: Cow<'a, str>,
    start: usize,
    end: usize,
}

impl<'a> Walk<'a, '_> {
    fn note(&mut self, problem: Unstorable) {
        self.problem.get_or_insert(problem);
    }

    fn value(&mut self, depth: usize) -> Result<(), Stop> {
        match self.scanner.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => return Err(Stop::TooDeep),
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => {
                let token = self.scanner.string()?;
                self.string(&token);
            }
            Some(b'-' | b'0'..=b'9') => {
                let literal = self.scanner.number()?;
                self.number(literal);
            }
            Some(b't') => self.word("true", b't')?,
            Some(b'f') => self.word("false", b'f')?,
            Some(b'n') => self.word("null", b'n')?,
            _ => return Err(self.scanner.error("a JSON value").into()),
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str, tag: u8) -> Result<(), Stop> {
        self.scanner.literal(word)?;
        self.out.push(tag);
        Ok(())
    }

    fn number(&mut self, literal: &str) {
        self.out.push(b'#');
        let length_at = self.reserve_length();
        if !canonical_number(literal, self.out) {
            self.note(Unstorable::NumberRange);
        }
        self.fill_length(length_at);
    }

    fn string(&mut self, token: &StringToken<'a>) -> Cow<'a, str> {
        let text = match unescape(token) {
            Ok(text) => text,
            Err(unit) => {
                self.note(Unstorable::LoneSurrogate(unit));
                Cow::Borrowed("")
            }
        };
        if text.contains('\0') {
            self.note(Unstorable::Nul);
        }
        self.out.push(b'"');
        let length_at = self.reserve_length();
        self.out.extend_from_slice(text.as_bytes());
        self.fill_length(length_at);
        text
    }

    fn reserve_length(&mut self) -> usize {
        self.out.extend_from_slice(&[0; 4]);
        self.out.len()
    }

    fn fill_length(&mut self, start: usize) {
        // A text of 4 GiB does not reach this place: SQLite and JSON readers stop far below.
        let length = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
        self.out[start - 4..start].copy_from_slice(&length.to_le_bytes());
    }

    fn array(&mut self, depth: usize) -> Result<(), Stop> {
        self.scanner.take(b'[', "an array")?;
        self.out.push(b'[');
        if !self.scanner.take_if(b']') {
            loop {
                self.value(depth + 1)?;
                if !self.scanner.take_if(b',') {
                    break;
                }
            }
            self.scanner.take(b']', "a comma or the end of an array")?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), Stop> {
        self.scanner.take(b'{', "an object")?;
        self.out.push(b'{');
        let first = self.out.len();
        let mut members: Vec<Member<'_>> = Vec::new();
        if !self.scanner.take_if(b'}') {
            loop {
                let start = self.out.len();
                let token = self.scanner.string()?;
                let key = self.string(&token);
                self.scanner.take(b':', "a colon")?;
                self.value(depth + 1)?;
                members.push(Member { key, start, end: self.out.len() });
                if !self.scanner.take_if(b',') {
                    break;
                }
            }
            self.scanner.take(b'}', "a comma or the end of an object")?;
        }
        self.sort_members(first, members);
        self.out.push(b'}');
        Ok(())
    }

    fn sort_members(&mut self, first: usize, mut members: Vec<Member<'_>>) {
        if !members.is_sorted_by(|a, b| a.key < b.key) {
            members.sort_by(|a, b| a.key.cmp(&b.key));
            if let Some(pair) = members.windows(2).find(|pair| pair[0].key == pair[1].key) {
                self.note(Unstorable::DuplicateKey(pair[0].key.clone().into_owned()));
            }
            let unsorted = self.out.split_off(first);
            for member in &members {
                self.out.extend_from_slice(&unsorted[member.start - first..member.end - first]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(examine(text, &mut out), Examined::Storable, "{text}");
        out
    }

    #[test]
    fn key_order_white_space_number_spelling_and_escapes_do_not_count() {
        let one = canonical(r#"{"b":[1,2.50,{"z":null,"a":true}],"a":"\u00e9\/"}"#);
        let other = canonical("{ \"a\" : \"é/\" ,\n\"b\":[1.0, 25e-1, {\"a\":true, \"z\":null}] }");
        assert_eq!(one, other);
    }

    #[test]
    fn different_documents_differ() {
        let texts = [
            "1",
            "\"1\"",
            "[1]",
            "[[1]]",
            "[1,2]",
            "[12]",
            "{\"1\":1}",
            "null",
            "\"null\"",
            "{}",
            "[]",
            "\"\"",
            "[\"a\",\"b\"]",
            "[\"ab\"]",
            "{\"a\":\"b\"}",
            "true",
            "false",
            "-1",
            "12345678901234567890",
            "12345678901234567891",
        ];
        for (i, a) in texts.iter().enumerate() {
            for b in &texts[i + 1..] {
                assert_ne!(canonical(a), canonical(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_jsonb_cannot_keep_is_found() {
        let found = |text: &str| examine(text, &mut Vec::new());
        assert_eq!(found(r#"{"a":1,"a":2}"#), Examined::Unstorable(Unstorable::DuplicateKey("a".into())));
        assert_eq!(found(r#"{"a":1,"\u0061":1}"#), Examined::Unstorable(Unstorable::DuplicateKey("a".into())));
        assert_eq!(found(r#"["x\u0000"]"#), Examined::Unstorable(Unstorable::Nul));
        assert_eq!(found(r#"["x\\u0000"]"#), Examined::Storable);
        assert_eq!(found(r#""\ud800""#), Examined::Unstorable(Unstorable::LoneSurrogate(0xd800)));
        assert_eq!(found(r#""\ud83d\ude00""#), Examined::Storable);
        assert_eq!(found("1e999999"), Examined::Unstorable(Unstorable::NumberRange));
        assert_eq!(found(&"[".repeat(100_000)), Examined::Unstorable(Unstorable::TooDeep));
    }

    #[test]
    fn what_is_not_json_is_said_with_its_place() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{not json: 4",
            "NaN",
            "01",
            "1.",
            "\"",
            "\"\n\"",
            "tru",
            "{\"a\" 1}",
            "1 2",
            "\"\\x\"",
            "'a'",
            "{\"a\":1,}",
            "-",
            "\"\\u12\"",
            "{1:2}",
            "[1 2]",
        ] {
            assert!(matches!(examine(text, &mut Vec::new()), Examined::Invalid(_)), "{text:?}");
        }
        let Examined::Invalid(error) = examine("[1, x]", &mut Vec::new()) else { panic!("not JSON") };
        assert_eq!(error.offset, 4);
    }

    #[test]
    fn a_failed_examination_leaves_the_output_as_it_was() {
        let mut out = b"before".to_vec();
        examine(r#"{"a":1,"a":2}"#, &mut out);
        examine("[1,", &mut out);
        assert_eq!(out, b"before");
    }
}
