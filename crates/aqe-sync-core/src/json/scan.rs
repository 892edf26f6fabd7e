//! The lexical half: tokens of RFC 8259, strictly, without building anything.

use std::borrow::Cow;
use std::fmt;

/// Where and why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset of the first byte that cannot be.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.offset)
    }
}

impl std::error::Error for SyntaxError {}

/// A string token: its text between the quotes, escapes not yet resolved.
pub(super) struct StringToken<'a> {
    pub(super) raw: &'a str,
    pub(super) has_escapes: bool,
}

pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn error(&self, expected: &'static str) -> SyntaxError {
        SyntaxError { offset: self.at, expected }
    }

    /// The next byte that is not white space, without taking it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    pub(super) fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), SyntaxError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.error(expected))
        }
    }

    pub(super) fn take_if(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn literal(&mut self, word: &'static str) -> Result<(), SyntaxError> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.error("null, true, false, a number, a string, an array or an object"))
        }
    }

    pub(super) fn end(&mut self) -> Result<(), SyntaxError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.error("the end of the document")) }
    }

    pub(super) fn string(&mut self) -> Result<StringToken<'a>, SyntaxError> {
        self.take(b'"', "a string")?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut has_escapes = false;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.escape()?;
                }
                Some(0..0x20) | None => return Err(self.error("the rest of a string")),
                Some(_) => self.at += 1,
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(StringToken { raw, has_escapes })
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.error("\\u and four hexadecimal digits"));
                }
                self.at += 6;
            }
            _ => return Err(self.error("an escape sequence")),
        }
        Ok(())
    }

    /// A number literal, by the grammar of RFC 8259 section 6.
    pub(super) fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.at;
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _ = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while self.text.as_bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("a digit")) } else { Ok(()) }
    }
}

/// Resolves escapes. `Err` names a lone surrogate, which no UTF-8 can hold.
pub(super) fn unescape<'a>(token: &StringToken<'a>) -> Result<Cow<'a, str>, u16> {
    if !token.has_escapes {
        return Ok(Cow::Borrowed(token.raw));
    }
    let mut text = String::with_capacity(token.raw.len());
    let mut rest = token.raw;
    while let Some(position) = rest.find('\\') {
        text.push_str(&rest[..position]);
        let escape = rest.as_bytes()[position + 1];
        rest = &rest[position + 2..];
        match escape {
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                let (symbol, used) = unicode_escape(rest)?;
                text.push(symbol);
                rest = &rest[used..];
            }
            other => text.push(char::from(other)),
        }
    }
    text.push_str(rest);
    Ok(text.into())
}

/// Reads the four digits after `\u`, and the second half of a surrogate pair.
fn unicode_escape(rest: &str) -> Result<(char, usize), u16> {
    let unit = |digits: &str| u16::from_str_radix(digits, 16).unwrap_or(0);
    let first = unit(&rest[..4]);
    if let Some(symbol) = char::from_u32(u32::from(first)) {
        return Ok((symbol, 4));
    }
    let second = rest.get(4..10).filter(|next| next.starts_with("\\u")).map(|next| unit(&next[2..]));
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    pair.map(|symbol| (symbol, 10)).ok_or(first)
}
