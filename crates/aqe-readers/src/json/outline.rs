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

/// Reads the outline of a valid document.
pub(super) fn outline(reader: impl BufRead) -> io::Result<Outline> {
    let mut found = Outline { kind: Kind::Scalar, parts: Vec::new() };
    let mut member = Member::Key(Vec::new());
    let (mut depth, mut in_string, mut escaped, mut begun) = (0_u64, false, false, false);
    for (offset, byte) in (0_u64..).zip(reader.bytes()) {
        let byte = byte?;
        if !begun {
            if byte.is_ascii_whitespace() {
                continue;
            }
            begun = true;
            found.kind = Kind::of(byte);
            if found.kind != Kind::Object {
                return Ok(found);
            }
        }
        let top = depth == 1;
        if in_string {
            if let (true, Member::Key(key)) = (top, &mut member) {
                key.push(byte);
            }
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        member = match member {
            Member::Before(key) if !byte.is_ascii_whitespace() => {
                Member::Within(Part { key, kind: Kind::of(byte), span: Span { start: offset, end: offset } })
            }
            Member::Key(key) if top && byte == b':' => Member::Before(text(key)?),
            Member::Key(_) if top && byte == b'"' => Member::Key(vec![byte]),
            Member::Within(mut part) if top && matches!(byte, b',' | b'}') => {
                part.span.end = offset;
                found.parts.push(part);
                Member::Key(Vec::new())
            }
            other => other,
        };
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(found)
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
