//! Whether a port of this machine leads to a PostgreSQL.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::postgres::link::open_tcp;

/// `SSLRequest`: the one question that every PostgreSQL answers with a single byte.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// How long an answer may take: a tunnel may have to reach its far end first.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of what a stranger says is looked at, in bytes.
const SHOWN: usize = 120;

/// What is at a port that is no PostgreSQL.
#[derive(Debug)]
pub(super) enum Found {
    /// Nobody listens, or the connection broke.
    Nobody(io::Error),
    /// It takes connections and closes them.
    Closes,
    /// It takes connections and says nothing.
    Silent,
    /// It says something else.
    Stranger(Vec<u8>),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("nobody listens there")
            }
            Self::Nobody(error) => write!(f, "it cannot be reached: {error}"),
            Self::Closes => f.write_str("what listens there closes the connection without a word"),
            Self::Silent => write!(f, "what listens there did not answer within {} s", PATIENCE.as_secs()),
            Self::Stranger(said) => {
                let shown = String::from_utf8_lossy(said);
                let shown = shown.lines().next().unwrap_or_default();
                match name(said) {
                    Some(name) => write!(f, "{name} listens there: it says {shown:?}"),
                    None => write!(f, "what listens there says {shown:?}"),
                }
            }
        }
    }
}

/// Who is known by the first words.
fn name(said: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(said);
    [("SSH-", "an SSH server"), ("HTTP/", "a web server"), ("-ERR", "a Redis"), ("220 ", "a mail or FTP server")]
        .into_iter()
        .find(|(start, _)| text.starts_with(start))
        .map(|(_, name)| name)
        .or_else(|| text.contains("mysql").then_some("a MySQL"))
        .or_else(|| said.starts_with(&[21, 3]).then_some("a server that wants TLS from the start"))
}

/// Asks once.
pub(super) async fn probe(port: u16) -> Result<(), Found> {
    let mut stream = open_tcp("localhost", port, PATIENCE).await.map_err(Found::Nobody)?;
    tokio::time::timeout(PATIENCE, ask(&mut stream)).await.unwrap_or(Err(Found::Silent))
}

async fn ask(stream: &mut TcpStream) -> Result<(), Found> {
    let closed = |_| Found::Closes;
    stream.write_all(&SSL_REQUEST).await.map_err(closed)?;
    let mut said = [0; SHOWN];
    let length = stream.read(&mut said).await.map_err(closed)?;
    match &said[..length] {
        [] => Err(Found::Closes),
        // An SSH server begins with the same letter, and goes on.
        [b'S' | b'N'] | [b'E', ..] => Ok(()),
        said => Err(Found::Stranger(said.to_vec())),
    }
}
