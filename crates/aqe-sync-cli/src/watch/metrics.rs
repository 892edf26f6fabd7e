//! Metrics over HTTP, for one project on one machine: a page, and whether the daemon lives.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::exit::Failure;

/// A page is made anew when it is older.
const FRESH: Duration = Duration::from_secs(15);
/// Nobody's request is longer, and nobody takes longer over it.
const MOST_BYTES: u64 = 8_192;
const PATIENCE: Duration = Duration::from_secs(5);
/// So many ask at once.
const MOST_AT_ONCE: usize = 8;

/// A page that is made anew when somebody asks for it and it is old.
pub(super) struct Page {
    command: Mutex<Command>,
    last: Mutex<Option<(Instant, String)>>,
}

impl Page {
    /// A page that this command prints.
    pub(super) fn of(command: Command) -> Self {
        Self { command: Mutex::new(command), last: Mutex::new(None) }
    }

    /// Lets the next who asks have a new one.
    pub(super) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn text(&self) -> Result<String, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = last.as_ref().filter(|(made, _)| made.elapsed() < FRESH) {
            return Ok(text.clone());
        }
        let output = self.command.lock().unwrap_or_else(PoisonError::into_inner).output();
        let output = output.map_err(|error| format!("cannot start this program again: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When nobody may listen at that address.
pub(super) fn serve(address: SocketAddr, page: Arc<Page>) -> Result<SocketAddr, Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("cannot serve metrics at {address}: {error}; choose another address with --metrics"))
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let serving = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors, say: that passes.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            if serving.fetch_add(1, Ordering::SeqCst) >= MOST_AT_ONCE {
                serving.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let (page, one) = (Arc::clone(&page), Arc::clone(&serving));
            let spawned = thread::Builder::new().name("metrics".to_owned()).spawn(move || {
                // Whoever went away needs no answer.
                let _ = answer(&stream, &page);
                one.fetch_sub(1, Ordering::SeqCst);
            });
            if spawned.is_err() {
                serving.fetch_sub(1, Ordering::SeqCst);
            }
        }
    };
    thread::Builder::new().name("metrics".to_owned()).spawn(accept).map_err(failed)?;
    Ok(bound)
}

fn answer(stream: &TcpStream, page: &Page) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = BufReader::new(stream.take(MOST_BYTES));
    let mut first = String::new();
    request.read_line(&mut first)?;
    // All of it, so that the answer is not cut off by what was left unread.
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let plain = "text/plain; charset=utf-8";
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics") => match page.text() {
            Ok(text) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", text),
            Err(error) => ("503 Service Unavailable", plain, error),
        },
        ("GET" | "HEAD", "/" | "/health") => ("200 OK", plain, "aqe-sync watch: metrics are at /metrics\n".to_owned()),
        ("GET" | "HEAD", _) => ("404 Not Found", plain, "not here: metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", plain, "only GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    if method != "HEAD" {
        stream.write_all(body.as_bytes())?;
    }
    stream.flush()
}
