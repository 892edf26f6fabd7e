//! A TCP proxy on this machine that behaves like a long link, for benches.
//!
//! Modelled: half the round-trip time each way, a round trip for opening a connection, the line's
//! rate, and slow start: per connection and direction, 14,600 bytes may be under way at first, and
//! each acknowledged byte lets one more go, up to 4 MiB. Not modelled: loss, jitter, and the fall
//! back to slow start after a pause.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const FIRST_WINDOW: usize = 14_600;
const LARGEST_WINDOW: usize = 4 << 20;
const CHUNK: usize = 64 * 1024;
/// A sender that is further ahead of the line than this waits, so that little piles up in memory.
const AHEAD: Duration = Duration::from_millis(5);

/// What the link is like.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// The time for a byte to go and come back.
    pub round_trip: Duration,
    /// The line's rate in each direction and per connection, in 10⁶ bits per second.
    pub megabits: f64,
    /// Whether connections start slowly, as TCP does.
    pub slow_start: bool,
}

impl Link {
    /// A link of that round-trip time with 100 Mbit/s and slow start.
    pub fn with_round_trip(round_trip: Duration) -> Self {
        Self { round_trip, megabits: 100.0, slow_start: true }
    }
}

/// A proxy from a free port of this machine to another one, over such a link.
#[derive(Debug)]
pub struct LatencyProxy {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    listener: Option<JoinHandle<()>>,
}

impl LatencyProxy {
    /// Starts a proxy to that port of 127.0.0.1.
    pub fn new(target_port: u16, link: Link) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a free port can be bound");
        let address = socket.local_addr().expect("a bound socket has an address");
        let (closing, bytes) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (over, counted) = (Arc::clone(&closing), Arc::clone(&bytes));
        let listener = thread::spawn(move || {
            for client in socket.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let Ok(client) = client else { continue };
                let counted = Arc::clone(&counted);
                thread::spawn(move || open(&client, target_port, link, &counted));
            }
        });
        Self { address, closing, bytes, listener: Some(listener) }
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the bytes that it took in, both directions together.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for LatencyProxy {
    /// Takes no further connections; those that are open go on to their end.
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

/// Carries one connection to its end.
fn open(client: &TcpStream, target_port: u16, link: Link, bytes: &AtomicU64) {
    // The handshake: the client believes to be connected already, but its first byte has to wait.
    thread::sleep(link.round_trip);
    let Ok(server) = TcpStream::connect(("127.0.0.1", target_port)) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    thread::scope(|threads| {
        for (from, to) in [(client, &server), (&server, client)] {
            let (sent, arrivals) = channel();
            let (acknowledge, acknowledged) = channel();
            threads.spawn(move || send(from, link, bytes, &sent, acknowledged));
            threads.spawn(move || deliver(to, link, &arrivals, &acknowledge));
        }
    });
}

/// A chunk and when it arrives; empty for the end of the stream.
type Arrival = (Instant, Vec<u8>);
/// When the sender learns of a chunk's arrival, and the chunk's length.
type Acknowledgement = (Instant, usize);

/// Takes bytes from the sender as fast as the line and the window allow.
fn send(
    mut from: &TcpStream,
    link: Link,
    bytes: &AtomicU64,
    sent: &Sender<Arrival>,
    acknowledged: Receiver<Acknowledgement>,
) {
    let bytes_per_second = link.megabits * 1e6 / 8.0;
    let mut window = Window::new(link.slow_start, acknowledged);
    let mut line_free = Instant::now();
    let mut chunk = vec![0; CHUNK];
    loop {
        let Some(room) = window.wait_for_room() else { return };
        let read = from.read(&mut chunk[..room.min(CHUNK)]).unwrap_or(0);
        let now = Instant::now();
        line_free = line_free.max(now) + Duration::from_secs_f64(read as f64 / bytes_per_second);
        window.under_way += read;
        bytes.fetch_add(read as u64, Ordering::Relaxed);
        let arrival = (line_free + link.round_trip / 2, chunk[..read].to_vec());
        if sent.send(arrival).is_err() || read == 0 {
            return;
        }
        let ahead = line_free.saturating_duration_since(now);
        if ahead > AHEAD {
            thread::sleep(ahead.saturating_sub(AHEAD / 2));
        }
    }
}

/// Hands each chunk over when it is due, in order.
fn deliver(mut to: &TcpStream, link: Link, arrivals: &Receiver<Arrival>, acknowledge: &Sender<Acknowledgement>) {
    for (due, chunk) in arrivals {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if chunk.is_empty() {
            break;
        }
        let length = chunk.len();
        if to.write_all(&chunk).is_err() {
            // Wakes the threads that read from this side.
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
        // A receiver that does not read holds the sender up here.
        let _ = acknowledge.send((Instant::now() + link.round_trip / 2, length));
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// TCP's congestion window, without loss.
struct Window {
    size: usize,
    under_way: usize,
    grows: bool,
    acknowledged: Receiver<Acknowledgement>,
    pending: VecDeque<Acknowledgement>,
}

impl Window {
    fn new(slow_start: bool, acknowledged: Receiver<Acknowledgement>) -> Self {
        let size = if slow_start { FIRST_WINDOW } else { LARGEST_WINDOW };
        Self { size, under_way: 0, grows: slow_start, acknowledged, pending: VecDeque::new() }
    }

    /// Returns how many bytes may be sent, at least one; `None` when nobody receives any more.
    fn wait_for_room(&mut self) -> Option<usize> {
        loop {
            self.pending.extend(self.acknowledged.try_iter());
            let now = Instant::now();
            while let Some(&(_, length)) = self.pending.front().filter(|(due, _)| *due <= now) {
                self.pending.pop_front();
                self.under_way -= length;
                if self.grows {
                    self.size = LARGEST_WINDOW.min(self.size + length);
                }
            }
            if self.under_way < self.size {
                return Some(self.size - self.under_way);
            }
            match self.pending.front() {
                Some((due, _)) => thread::sleep(due.saturating_duration_since(now)),
                None => self.pending.push_back(self.acknowledged.recv().ok()?),
            }
        }
    }
}
