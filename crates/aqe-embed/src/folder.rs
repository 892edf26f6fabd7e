//! The model's files and where they are.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aqe_sync_core::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};

/// No file of the model is longer.
const LONGEST: u64 = 1 << 30;

/// A file of the model, as it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name in the folder.
    pub name: &'static str,
    /// Where it is below the model's address.
    pub path: &'static str,
    /// Its SHA-256 in hexadecimal; `None` where any will do.
    pub sha256: Option<&'static str>,
    /// About how many bytes it has.
    pub bytes: u64,
}

impl ModelFile {
    /// The weights, in safetensors.
    pub const WEIGHTS: Self = Self {
        name: "model.safetensors",
        path: "model.safetensors",
        sha256: Some("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        bytes: 90_868_376,
    };
    /// How text becomes tokens.
    pub const TOKENIZER: Self = Self {
        name: "tokenizer.json",
        path: "tokenizer.json",
        sha256: Some("be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        bytes: 466_247,
    };
    /// The model for ONNX Runtime. Exports differ from release to release.
    pub const ONNX: Self = Self { name: "model.onnx", path: "onnx/model.onnx", sha256: None, bytes: 90_405_214 };

    /// What the back ends that are compiled in need.
    pub fn needed() -> &'static [Self] {
        if cfg!(feature = "ort") { &[Self::TOKENIZER, Self::ONNX] } else { &[Self::TOKENIZER, Self::WEIGHTS] }
    }
}

/// A folder with the files of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFolder(PathBuf);

impl ModelFolder {
    /// The folder with the model: the given one, else the one in this machine's
    /// [cache](Self::cache).
    ///
    /// # Errors
    /// Says where it looked and how to get the model.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        let folder = match given {
            Some(folder) => folder.to_owned(),
            None => Self::cache().ok_or_else(|| missing("this machine has no cache folder", given))?,
        };
        for file in ModelFile::needed() {
            let path = folder.join(file.name);
            if !path.is_file() && !folder.join(file.path).is_file() {
                return Err(missing(&format!("{} is not there", path.display()), given));
            }
        }
        Ok(Self(folder))
    }

    /// Where the model is kept when nobody says otherwise:
    /// `$XDG_CACHE_HOME/aqe-sync/all-MiniLM-L6-v2`, `~/.cache` where that variable is not set,
    /// `%LOCALAPPDATA%` on Windows.
    pub fn cache() -> Option<PathBuf> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("LOCALAPPDATA").filter(|_| cfg!(windows)))
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
        Some(caches.join("aqe-sync").join("all-MiniLM-L6-v2"))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The bytes of a file, and their SHA-256.
    pub(crate) fn read(&self, file: ModelFile) -> Result<(Vec<u8>, String)> {
        let path = self.file(file);
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Io, error.to_string())
                .during(format!("reading {}", path.display()))
                .advice("see that the model can be read")
        };
        let opened = File::open(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        opened.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
        let hash = hexadecimal(&Sha256::digest(&bytes));
        Ok((bytes, hash))
    }

    /// Where a file is: beside the others, or where the published model has it.
    pub(crate) fn file(&self, file: ModelFile) -> PathBuf {
        let flat = self.0.join(file.name);
        if flat.is_file() { flat } else { self.0.join(file.path) }
    }
}

fn missing(what: &str, given: Option<&Path>) -> Error {
    let advice = match given {
        Some(_) => "name a folder that holds all-MiniLM-L6-v2 with --model-dir, or leave it out",
        None if cfg!(feature = "download") => {
            "aqe-sync embed fetches it once (90 MB); without a network, copy its folder here and name it with \
             --model-dir"
        }
        None => "name a folder that holds all-MiniLM-L6-v2 with --model-dir",
    };
    Error::new(ErrorKind::NotFound, format!("there is no embedding model: {what}")).advice(advice)
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
