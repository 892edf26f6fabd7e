//! What inputs are made from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Inputs with their names, and words that mean something to their parser.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    inputs: Arc<Vec<Input>>,
    words: Arc<Vec<Vec<u8>>>,
    text: bool,
}

#[derive(Clone, Debug)]
struct Input {
    name: String,
    bytes: Vec<u8>,
    must_parse: bool,
}

impl Corpus {
    /// Starts with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input that the parser must take.
    #[must_use]
    pub fn with(self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.add(name.into(), bytes.into(), true)
    }

    /// Adds an input of which nothing is said: half-written files, and what made a target fail once.
    #[must_use]
    pub fn with_any(self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.add(name.into(), bytes.into(), false)
    }

    fn add(mut self, name: String, bytes: Vec<u8>, must_parse: bool) -> Self {
        Arc::make_mut(&mut self.inputs).push(Input { name, bytes, must_parse });
        self
    }

    /// Adds the inputs that failed once: the files of `tests/corpus/NAME`.
    ///
    /// # Panics
    /// When a file cannot be read. A folder that is not there is empty.
    #[must_use]
    pub fn with_past_failures(self, name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
        files(&folder).into_iter().fold(self, |corpus, path| {
            let bytes = fs::read(&path).expect("a file of the corpus");
            corpus.with_any(path.display().to_string(), bytes)
        })
    }

    /// Adds words, escapes and numbers that the parser knows.
    #[must_use]
    pub fn words<W: AsRef<[u8]>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        Arc::make_mut(&mut self.words).extend(words.into_iter().map(|word| word.as_ref().to_vec()));
        self
    }

    /// Says that inputs are text with members, elements or lines, most of which are left whole.
    #[must_use]
    pub fn text(mut self) -> Self {
        self.text = true;
        self
    }

    pub(super) fn is_text(&self) -> bool {
        self.text
    }

    /// How many inputs there are.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    pub(super) fn get(&self, number: u64) -> Option<&[u8]> {
        self.inputs.get(usize::try_from(number).ok()?).map(|input| input.bytes.as_slice())
    }

    pub(super) fn name(&self, number: u64) -> &str {
        usize::try_from(number).ok().and_then(|number| self.inputs.get(number)).map_or("", |input| &input.name)
    }

    pub(super) fn must_parse(&self, number: u64) -> bool {
        usize::try_from(number).ok().and_then(|number| self.inputs.get(number)).is_some_and(|input| input.must_parse)
    }

    pub(super) fn word(&self, rng: &mut fastrand::Rng) -> Option<&[u8]> {
        rng.choice(self.words.iter()).map(Vec::as_slice)
    }
}

/// The real files of real tools that come with the project.
///
/// # Panics
/// When the folder is not there.
pub fn fixtures() -> Vec<PathBuf> {
    let found = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
    assert!(found.len() > 50, "the fixtures are not there");
    found
}

/// All files below a folder, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
