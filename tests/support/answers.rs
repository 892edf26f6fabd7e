//! An HTTP server on this machine that says what a test wants to hear.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// A request as it came: its first line, headers and body.
pub type Requests = mpsc::Receiver<String>;

/// Serves each connection to a port of this machine on a thread of its own. Returns the port.
pub fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let each = Arc::new(each);
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let each = Arc::clone(&each);
            thread::spawn(move || each(stream));
        }
    });
    port
}

/// Answers each request with the next of these (status and body), the last one again and again.
/// Returns the port, and the requests as they come.
pub fn answer(answers: Vec<(u16, String)>) -> (u16, Requests) {
    let (tell, requests) = mpsc::channel();
    let answers = Mutex::new(answers.into_iter().peekable());
    let port = serve(move |stream| {
        let mut reader = BufReader::new(stream);
        while let Some(request) = request(&mut reader) {
            let (status, body) = {
                let mut answers = answers.lock().expect("nothing panics meanwhile");
                let next = answers.next().expect("the last one stays");
                if answers.peek().is_none() {
                    // Kept for whoever asks next.
                    *answers = vec![next.clone()].into_iter().peekable();
                }
                next
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nMetadata-Flavor: Google\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
            let _ = tell.send(request);
        }
    });
    (port, requests)
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut all, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().expect("a length");
        }
        all += &line;
        if line == "\r\n" {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            return Some(all + &String::from_utf8(body).expect("text"));
        }
    }
}
