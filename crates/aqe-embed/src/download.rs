//! Fetching the model.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result, Retry};
use reqwest::{Client, Response, Url};
use sha2::{Digest as _, Sha256};

use crate::folder::{ModelFile, ModelFolder, hexadecimal};

/// Where the model is published.
const ADDRESS: &str = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main";
/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// No file of the model is longer.
const LONGEST: u64 = 1 << 30;

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetching {
    /// Which file.
    pub file: &'static str,
    /// So many bytes are here.
    pub bytes: u64,
    /// So many there will be, as far as somebody said.
    pub of: u64,
}

/// Fetches the model's files from where they are published, or from a mirror with the same
/// layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    address: String,
}

impl Default for Download {
    fn default() -> Self {
        Self { address: ADDRESS.to_owned() }
    }
}

impl Download {
    /// Fetches from a mirror.
    ///
    /// # Errors
    /// When it is no URL, or neither encrypted nor on this machine.
    pub fn from(address: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::new(ErrorKind::Invalid, format!("the model's address {what}"))
                .advice(format!("leave it out for {ADDRESS}"))
        };
        let url = Url::parse(address).map_err(|error| wrong(&format!("is no URL: {error}")))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
            return Err(wrong("has to begin with https://, except on this machine"));
        }
        Ok(Self { address: address.trim_end_matches('/').to_owned() })
    }

    /// Fetches what a folder lacks of the model, checked against the sums of the published files,
    /// and tells how far it is. A file is there whole or not at all.
    ///
    /// # Errors
    /// When the server does not answer or gives something else, or the folder cannot be written.
    pub fn fetch(&self, folder: &Path, mut told: impl FnMut(Fetching)) -> Result<ModelFolder> {
        let failed = |error: std::io::Error| unwritable(folder, &error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        for file in ModelFile::needed() {
            if !folder.join(file.name).is_file() {
                runtime.block_on(self.file(*file, folder, &mut told))?;
            }
        }
        ModelFolder::find(Some(folder))
    }

    async fn file(&self, file: ModelFile, folder: &Path, told: &mut impl FnMut(Fetching)) -> Result<()> {
        let url = format!("{}/{}", self.address, file.path);
        let mut response = ask(&url).await?;
        let of = response.content_length().unwrap_or(file.bytes);
        let failed = |error: std::io::Error| unwritable(folder, &error);
        let mut part = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&url, &error))? {
            bytes += chunk.len() as u64;
            if bytes > LONGEST {
                return Err(other(&url, "it is longer than any file of the model"));
            }
            hash.update(&chunk);
            part.write_all(&chunk).map_err(failed)?;
            told(Fetching { file: file.name, bytes, of });
        }
        let hash = hexadecimal(&hash.finalize());
        if file.sha256.is_some_and(|expected| expected != hash) {
            return Err(other(&url, &format!("its SHA-256 is {hash}")).retry(Retry::Later));
        }
        part.as_file().sync_all().map_err(failed)?;
        part.persist(folder.join(file.name)).map_err(|error| unwritable(folder, &error.error))?;
        Ok(())
    }
}

async fn ask(url: &str) -> Result<Response> {
    // Whoever chose one before is right.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().connect_timeout(SILENCE).read_timeout(SILENCE).build();
    let client = client.map_err(|error| Error::internal(format!("no call can be made: {error}")))?;
    let response = client.get(url).send().await.map_err(|error| broken(url, &error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry = if status.is_server_error() { Retry::Later } else { Retry::Never };
    Err(Error::new(ErrorKind::NotFound, format!("{url} cannot be had: the server says {status}"))
        .retry(retry)
        .advice(ADVICE))
}

const ADVICE: &str = "copy a folder with all-MiniLM-L6-v2 (model.safetensors, tokenizer.json) to this machine and name \
                      it with --model-dir, or name a mirror with url in [embed]";

fn broken(url: &str, error: &reqwest::Error) -> Error {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    Error::new(ErrorKind::Io, format!("{url} cannot be had: {said}")).retry(Retry::Later).advice(ADVICE)
}

fn other(url: &str, what: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("{url} is not the published file: {what}")).advice(ADVICE)
}

fn unwritable(folder: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("the model cannot be kept in {}: {error}", folder.display()))
        .advice("name another folder with --model-dir")
}
