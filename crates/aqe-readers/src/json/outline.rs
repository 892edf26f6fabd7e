//! Which parts a document has: the members of its top level, and where they lie.
//!
//! A part can then be read by itself, from its first byte to its last. Works
//! on documents that a parser has already accepted.

use std::io::{self, BufRead};

use crate::snapshot::Span;

/// What a value is, as far as its first byte tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Scalar,
}

impl Kind {
    fn of(first: u8) -> Self {
        match first {
            b'{' => Self::Object,
            b'[' => Self::Array,
            _ => Self::Scalar,
        }
    }
}

/// One member of the top-level object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its key, as the JSON string it is written as.
    pub(super) key: Box<str>,
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// A document's top level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) kind: Kind,
    /// The members, if it is an object; repeated keys are all there.
    pub(super) parts: Vec<Part>,
}

/// Where the scan stands among the members of the top-level object.
enum Member {
    /// A key, `,` or the end comes next; holds the key's bytes so far.
    Key(Vec<u8>),
    /// The value's first byte comes next.
    Before(Box<str>),
    Within(Part),
}

/// The scan through a document's bytes.
struct Scan {
    found: Outline,
    member: Member,
    depth: u64,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

/// Reads the outline of a valid document.
pub(super) fn outline(mut reader: impl BufRead) -> io::Result<Outline> {
    let mut scan = Scan {
        found: Outline { kind: Kind::Scalar, parts: Vec::new() },
        member: Member::Key(Vec::new()),
        depth: 0,
        begun: false,
        in_string: false,
        escaped: false,
    };
    let mut offset = 0;
    loop {
        let chunk = reader.fill_buf()?;
        let length = chunk.len();
        if length == 0 || !scan.chunk(chunk, offset)? {
            return Ok(scan.found);
        }
        offset += length as u64;
        reader.consume(length);
    }
}

impl Scan {
    /// Scans on; `false` when nothing more needs to be known.
    fn chunk(&mut self, chunk: &[u8], offset: u64) -> io::Result<bool> {
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.in_string {
                rest = self.string(rest);
                continue;
            }
            let at = offset + (chunk.len() - rest.len()) as u64;
            if !self.outside(rest[0], at)? {
                return Ok(false);
            }
            rest = &rest[1..];
        }
        Ok(true)
    }

    /// Scans to the end of the string, or of the chunk; gives what comes after.
    fn string<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let plain = if self.escaped {
            0
        } else {
            chunk.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(chunk.len())
        };
        let taken = chunk.len().min(plain + 1);
        if let (1, Member::Key(key)) = (self.depth, &mut self.member) {
            key.extend_from_slice(&chunk[..taken]);
        }
        if let Some(special) = chunk.get(plain) {
            self.in_string = self.escaped || *special != b'"';
            self.escaped = !self.escaped && *special == b'\\';
        }
        &chunk[taken..]
    }

    /// Takes a byte that is in no string.
    fn outside(&mut self, byte: u8, offset: u64) -> io::Result<bool> {
        if byte.is_ascii_whitespace() {
            return Ok(true);
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.found.kind = Kind::of(byte);
            if self.found.kind != Kind::Object {
                return Ok(false);
            }
        }
        let top = self.depth == 1;
        self.member = match std::mem::replace(&mut self.member, Member::Key(Vec::new())) {
            Member::Before(key) => {
                Member::Within(Part { key, kind: Kind::of(byte), span: Span { start: offset, end: offset } })
            }
            Member::Key(key) if top && byte == b':' => Member::Before(text(key)?),
            Member::Key(_) if top && byte == b'"' => Member::Key(vec![byte]),
            Member::Within(mut part) if top && matches!(byte, b',' | b'}') => {
                part.span.end = offset;
                self.found.parts.push(part);
                Member::Key(Vec::new())
            }
            other => other,
        };
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        Ok(true)
    }
}

fn text(bytes: Vec<u8>) -> io::Result<Box<str>> {
    String::from_utf8(bytes).map(String::into_boxed_str).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_found_where_it_lies() {
        let text = r#" {"a":{"x":"}\"]"}, "b\"\u00e9" : [1,{"c":2}] ,"n":-1.5e3,"s":"a,}\\" ,"":null,"a":[]} "#;
        let found = outline(text.as_bytes()).expect("readable");
        let bytewise = outline(io::BufReader::with_capacity(1, text.as_bytes())).expect("readable");
        assert_eq!(found, bytewise, "whatever the size of the chunks");
        assert_eq!(found.kind, Kind::Object);
        let parts: Vec<_> = found
            .parts
            .iter()
            .map(|part| {
                let range = usize::try_from(part.span.start).unwrap()..usize::try_from(part.span.end).unwrap();
                (&*part.key, part.kind, text[range].trim())
            })
            .collect();
        assert_eq!(
            parts,
            [
                ("\"a\"", Kind::Object, r#"{"x":"}\"]"}"#),
                (r#""b\"\u00e9""#, Kind::Array, r#"[1,{"c":2}]"#),
                ("\"n\"", Kind::Scalar, "-1.5e3"),
                ("\"s\"", Kind::Scalar, r#""a,}\\""#),
                ("\"\"", Kind::Scalar, "null"),
                ("\"a\"", Kind::Array, "[]"),
            ]
        );
    }

    #[test]
    fn a_document_that_is_no_object_has_no_parts() {
        for (text, kind) in [("[1,{\"a\":2}]", Kind::Array), (" 7", Kind::Scalar), ("{}", Kind::Object)] {
            assert_eq!(outline(text.as_bytes()).expect("readable"), Outline { kind, parts: Vec::new() });
        }
    }
}
