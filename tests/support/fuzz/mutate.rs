//! What goes wrong with bytes: flips, cuts, repetitions, splices, lengths and numbers that lie.

use fastrand::Rng;

use super::Corpus;

/// Where sizes, signs and exactness change.
const NUMBERS: [u64; 18] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 53,
    (1 << 53) + 1,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX - 1,
    u64::MAX,
    0x7ff8_0000_0000_0000,
];

/// The same for numbers that are written in digits.
const DIGITS: [&str; 18] = [
    "0",
    "-0",
    "-1",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "99999999999",
    "253402300800000000",
    "1e308",
    "1e-400",
    "0.1000000000000000055",
    "1e99999999999999999999",
];

/// No input grows beyond this.
const LONGEST: usize = 2 << 20;

pub(super) struct Mutator {
    corpus: Corpus,
    seed: u64,
}

impl Mutator {
    pub(super) fn new(corpus: Corpus, seed: u64) -> Self {
        Self { corpus, seed }
    }

    /// The input of that number.
    pub(super) fn input(&self, number: u64) -> Vec<u8> {
        let mut rng = Rng::with_seed(self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let mut bytes = self.base(&mut rng).to_vec();
        // Mostly little: what is broken in many places is refused at the first.
        let steps = if rng.u8(..4) == 0 { rng.usize(4..=24) } else { rng.usize(1..=3) };
        for _ in 0..steps {
            self.step(&mut bytes, &mut rng);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    /// One input of the corpus; the smaller one of two, as changes in it mean more.
    fn base(&self, rng: &mut Rng) -> &[u8] {
        let mut pick = || self.corpus.get(rng.u64(..self.corpus.len() as u64)).unwrap_or_default();
        let (one, other) = (pick(), pick());
        if one.len() <= other.len() { one } else { other }
    }

    fn step(&self, bytes: &mut Vec<u8>, rng: &mut Rng) {
        if self.corpus.is_text() && rng.u8(..4) != 0 {
            return self.text_step(bytes, rng);
        }
        match rng.u8(..16) {
            0 | 1 => flip(bytes, rng),
            2 => set(bytes, rng),
            3 => remove(bytes, rng),
            4 => insert_noise(bytes, rng),
            5 => duplicate(bytes, rng),
            6 => bytes.truncate(rng.usize(..=bytes.len())),
            7 | 8 => lie(bytes, rng),
            9 | 10 => digits(bytes, rng),
            11 => splice(bytes, self.base(rng), rng),
            12 => swap(bytes, rng),
            13 => repeat(bytes, rng),
            _ => match self.corpus.word(rng) {
                Some(word) => put(bytes, word, rng),
                None => lie(bytes, rng),
            },
        }
    }
}

impl Mutator {
    /// What leaves most of a document's grammar as it is.
    fn text_step(&self, bytes: &mut Vec<u8>, rng: &mut Rng) {
        let Some(piece) = piece(bytes, rng) else { return digits(bytes, rng) };
        match rng.u8(..6) {
            0 => digits(bytes, rng),
            1 => drop(bytes.drain(piece)),
            2 => {
                let copy = bytes[piece.clone()].to_vec();
                bytes.splice(piece.start..piece.start, copy);
            }
            3 => {
                let moved: Vec<u8> = bytes.drain(piece).collect();
                let at = self::piece(bytes, rng).map_or(bytes.len(), |place| place.start);
                bytes.splice(at..at, moved);
            }
            4 => {
                let other = self.base(rng);
                let foreign = self::piece(other, rng).map(|place| other[place].to_vec()).unwrap_or_default();
                bytes.splice(piece, foreign);
            }
            _ => {
                let value = rng.choice(VALUES).unwrap_or_default();
                let start = value_start(&bytes[piece.clone()]) + piece.start;
                bytes.splice(start..piece.end, value.bytes());
            }
        }
    }
}

/// Values that JSON and TOML both know, and some that only one does.
const VALUES: [&str; 14] = [
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "\"\"",
    "\"a\"",
    "[]",
    "{}",
    "[1, \"b\"]",
    "[{}]",
    "\"2026-01-11T13:01:08Z\"",
    "\"\\u0000\"",
    "{\"key\": \"k\"}",
];

/// A member, an element or a line: from behind a comma or a line's end up to the next one.
fn piece(bytes: &[u8], rng: &mut Rng) -> Option<std::ops::Range<usize>> {
    let from = rng.usize(..=bytes.len());
    let start = from + bytes[from..].iter().position(|byte| b",\n".contains(byte))?;
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (end, byte) in bytes.iter().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' | b'\n' if depth == 0 => return Some(start..end),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Where the value of a member begins: behind the colon or the sign of equality that follows its name.
fn value_start(piece: &[u8]) -> usize {
    let mut in_string = false;
    let found = piece.iter().position(|byte| {
        in_string ^= *byte == b'"';
        !in_string && b":=".contains(byte)
    });
    found.map_or(1, |at| at + 1)
}

fn flip(bytes: &mut [u8], rng: &mut Rng) {
    if let Some(byte) = rng.choice(bytes) {
        *byte ^= 1 << rng.u8(..8);
    }
}

fn set(bytes: &mut [u8], rng: &mut Rng) {
    if let Some(byte) = rng.choice(bytes) {
        *byte = rng.u8(..);
    }
}

/// A stretch of at most `most` bytes; short ones are likelier.
fn stretch(length: usize, most: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(..=length);
    let most = most.min(1 << rng.u32(..16));
    start..(start + rng.usize(..=most)).min(length)
}

fn remove(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let stretch = stretch(bytes.len(), usize::MAX, rng);
    bytes.drain(stretch);
}

fn insert_noise(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let noise: Vec<u8> = (0..rng.usize(1..=16)).map(|_| rng.u8(..)).collect();
    bytes.splice(at..at, noise);
}

fn duplicate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let copy = bytes[stretch(bytes.len(), usize::MAX, rng)].to_vec();
    let at = rng.usize(..=bytes.len());
    bytes.splice(at..at, copy);
}

/// A short stretch many times in its place: nesting, long names, many members.
fn repeat(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let stretch = stretch(bytes.len(), 32, rng);
    let times = 1 << rng.u32(..13);
    let many = bytes[stretch.clone()].repeat(times);
    bytes.splice(stretch, many);
}

/// A number that means a size, a type or a place, in either byte order.
fn lie(bytes: &mut [u8], rng: &mut Rng) {
    let width = 1 << rng.u32(..4);
    if bytes.len() < width {
        return;
    }
    let number = if rng.bool() { rng.choice(NUMBERS).unwrap_or_default() } else { rng.u64(..) >> rng.u32(..64) };
    let at = rng.usize(..=bytes.len() - width);
    if rng.bool() {
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    } else {
        bytes[at..at + width].copy_from_slice(&number.to_be_bytes()[8 - width..]);
    }
}

/// Another number in the place of one that is written in digits.
fn digits(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let from = rng.usize(..=bytes.len());
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|start| from + start) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = rng.choice(DIGITS).unwrap_or_default();
    bytes.splice(start..start + length, number.bytes());
}

/// A stretch of another input, over or into this one.
fn splice(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let foreign = other[stretch(other.len(), usize::MAX, rng)].to_vec();
    let at = rng.usize(..=bytes.len());
    let end = if rng.bool() { (at + foreign.len()).min(bytes.len()) } else { at };
    bytes.splice(at..end, foreign);
}

fn swap(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let stretch = stretch(bytes.len(), usize::MAX, rng);
    let moved: Vec<u8> = bytes.drain(stretch).collect();
    let at = rng.usize(..=bytes.len());
    bytes.splice(at..at, moved);
}

fn put(bytes: &mut Vec<u8>, word: &[u8], rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let end = if rng.bool() { (at + word.len()).min(bytes.len()) } else { at };
    bytes.splice(at..end, word.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again_and_another_seed_gives_others() {
        let corpus = Corpus::new().with("a", "{\"a\": [1, 2, 3]}").with("b", "SQLite format 3").words(["null"]);
        let inputs = |seed| {
            let mutator = Mutator::new(corpus.clone(), seed);
            (0..500).map(|number| mutator.input(number)).collect::<Vec<_>>()
        };
        let first = inputs(1);
        assert_eq!(first, inputs(1));
        assert_ne!(first, inputs(2));
        let distinct: std::collections::HashSet<_> = first.iter().collect();
        assert!(distinct.len() > 350, "{} of 500 inputs are distinct", distinct.len());
    }
}
