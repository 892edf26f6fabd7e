//! The words of a text.

use crate::{Key, Value};

/// No word is longer; what is beyond is nobody's search.
const LONGEST: usize = 64;
/// So many words of a row are looked at.
const MOST: usize = 2_000;

/// The words of a row's text and of its key, each as often as it occurs, in lower case: what
/// stands between white space, what stands between punctuation in it, and the parts of names
/// that are written in camel case. So an identifier is found whole and by its parts.
///
/// ```
/// use aqe_sync_core::search::words_of;
/// use aqe_sync_core::{Key, Value};
///
/// let words = words_of("see auth/refreshToken.", &Key::new(vec![Value::from("p-7")]));
/// assert_eq!(words, ["see", "auth/refreshtoken", "auth", "refreshtoken", "refresh", "token", "p-7", "p", "7"]);
/// ```
pub fn words_of(text: &str, key: &Key) -> Vec<String> {
    let mut words = Vec::new();
    collect(text, &mut words);
    for value in key.values() {
        if let Value::Text(part) = value {
            collect(part, &mut words);
        }
    }
    words.truncate(MOST);
    words
}

/// A word that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) word: String,
    /// Whether it is a name rather than a word of a language: it has digits or punctuation within,
    /// or is written in camel case.
    pub(super) name: bool,
}

/// Words of English that say nothing about what is asked.
const FILLING: &str = " a about after all also am an and any are as at be because been before but by can could did do \
                       does for from had has have how i if in into is it its just may me more most my no not of on \
                       or our out over should so some such than that the their them then there these they this those \
                       to too under up us very was we were what when where which while who why will with would you your ";

/// The different words of a question, in their order, without those that only fill it: unless it
/// has no others.
pub(super) fn words_of_question(text: &str) -> Vec<Asked> {
    let mut words: Vec<Asked> = Vec::new();
    for chunk in text.split(char::is_whitespace) {
        let mut parts = Vec::new();
        collect(chunk, &mut parts);
        // What is in camel case comes whole and in parts: the whole one is the name.
        let several = parts.len() > 1;
        for (position, word) in parts.into_iter().enumerate() {
            let name = (position == 0 && several) || word.chars().any(|letter| !letter.is_alphabetic());
            if words.iter().all(|asked| asked.word != word) {
                words.push(Asked { word, name });
            }
        }
    }
    let fills = |asked: &Asked| FILLING.contains(&format!(" {} ", asked.word));
    if !words.iter().all(fills) {
        words.retain(|asked| !fills(asked));
    }
    words.truncate(32);
    words
}

fn collect(text: &str, words: &mut Vec<String>) {
    for chunk in text.split(char::is_whitespace) {
        if words.len() >= MOST {
            return;
        }
        let chunk = chunk.trim_matches(|letter: char| !letter.is_alphanumeric());
        if chunk.is_empty() {
            continue;
        }
        let parts: Vec<&str> =
            chunk.split(|letter: char| !letter.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
        if parts.len() > 1 {
            push(chunk, words);
        }
        for part in parts {
            push(part, words);
            let humps = humps(part);
            if humps.len() > 1 {
                for hump in humps {
                    push(hump, words);
                }
            }
        }
    }
}

fn push(word: &str, words: &mut Vec<String>) {
    // What a database cannot keep in a text is no part of a word either.
    let word: String = word.chars().flat_map(char::to_lowercase).filter(|letter| *letter != '\0').collect();
    if !word.is_empty() && word.len() <= LONGEST {
        words.push(word);
    }
}

/// `refreshJWTToken` as `refresh`, `JWT`, `Token`.
fn humps(word: &str) -> Vec<&str> {
    let letters: Vec<(usize, char)> = word.char_indices().collect();
    let mut parts = Vec::new();
    let mut start = 0;
    for window in 1..letters.len() {
        let (position, letter) = letters[window];
        let before = letters[window - 1].1;
        let after = letters.get(window + 1).map(|(_, letter)| *letter);
        let begins = letter.is_uppercase()
            && (before.is_lowercase() || (before.is_uppercase() && after.is_some_and(char::is_lowercase)));
        if begins {
            parts.push(&word[start..position]);
            start = position;
        }
    }
    parts.push(&word[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        words_of(text, &Key::new(Vec::new()))
    }

    #[test]
    fn identifiers_are_whole_and_in_parts() {
        assert_eq!(words("refreshJWTToken"), ["refreshjwttoken", "refresh", "jwt", "token"]);
        assert_eq!(words("src/cart.tsx:42"), ["src/cart.tsx:42", "src", "cart", "tsx", "42"]);
        assert_eq!(words("\"quoted\", (words)!"), ["quoted", "words"]);
        assert_eq!(words("ÄPFEL straße"), ["äpfel", "straße"]);
        assert_eq!(words(" -- \n"), Vec::<String>::new());
    }

    #[test]
    fn what_only_fills_a_question_is_not_looked_for() {
        let asked = |text| {
            let words = words_of_question(text).into_iter();
            words.map(|asked| if asked.name { format!("{}!", asked.word) } else { asked.word }).collect::<Vec<_>>()
        };
        assert_eq!(asked("what is the retry for?"), ["retry"]);
        assert_eq!(asked("To be or not to be"), ["to", "be", "or", "not"]);
        assert_eq!(asked("see rotateKeys, p-7"), ["see", "rotatekeys!", "rotate", "keys", "p-7!", "p", "7!"]);
    }

    #[test]
    fn hostile_texts_have_few_and_short_words() {
        assert_eq!(words(&"x".repeat(65)), Vec::<String>::new());
        assert_eq!(words(&"x ".repeat(5_000)).len(), MOST);
        assert_eq!(words("a\0b"), ["a\0b".replace('\0', ""), "a".to_owned(), "b".to_owned()]);
        assert_eq!(words_of_question(&"same ".repeat(100)).len(), 1);
    }
}
