//! A TCP proxy on this machine that breaks connections where a test wants it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// A proxy from a free port of this machine to another one; it counts, holds and cuts.
///
/// Every cut closes both sides at once. The bytes up to the cut have been forwarded, exactly.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    ToServer,
    FromServer,
}

/// Where connections accepted from now on are cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    direction: Direction,
    after: u64,
    /// How many more connections it applies to; `None` is all.
    times: Option<u32>,
}

#[derive(Debug, Default)]
struct State {
    cut: Option<Cut>,
    held: bool,
    closing: bool,
    to_server: u64,
    from_server: u64,
    accepted: u64,
    cuts: u64,
    open: Vec<Arc<Connection>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    cut: Option<Cut>,
}

impl Connection {
    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn limit(&self, direction: Direction) -> u64 {
        match (self.cut, direction) {
            (Some(cut @ Cut { direction: Direction::ToServer, .. }), Direction::ToServer)
            | (Some(cut @ Cut { direction: Direction::FromServer, .. }), Direction::FromServer) => cut.after,
            _ => u64::MAX,
        }
    }
}

impl Proxy {
    /// Starts a proxy to that port of 127.0.0.1.
    pub fn new(target_port: u16) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a free port can be bound");
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::<Shared>::default();
        let accepting = Arc::clone(&shared);
        let listener = thread::spawn(move || accept(&socket, target_port, &accepting));
        Self { address, shared, listener: Some(listener) }
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts each connection opened from now on once it has sent that many bytes to the server.
    pub fn cut_after(&self, bytes: u64) {
        self.plan(Direction::ToServer, bytes, None);
    }

    /// Cuts the next connection only; those after it pass.
    pub fn cut_once_after(&self, bytes: u64) {
        self.plan(Direction::ToServer, bytes, Some(1));
    }

    /// Cuts each connection opened from now on once it has got that many bytes from the server.
    pub fn cut_after_from_server(&self, bytes: u64) {
        self.plan(Direction::FromServer, bytes, None);
    }

    /// Cuts the next connection only, once it has got that many bytes; those after it pass.
    pub fn cut_once_after_from_server(&self, bytes: u64) {
        self.plan(Direction::FromServer, bytes, Some(1));
    }

    /// Cuts all connections that are open now; later ones are not affected.
    pub fn cut_now(&self) {
        let mut state = self.shared.lock();
        state.cuts += state.open.len() as u64;
        state.open.drain(..).for_each(|connection| connection.close());
        self.shared.changed.notify_all();
    }

    /// Lets every connection opened from now on pass whole.
    pub fn pass(&self) {
        self.shared.lock().cut = None;
    }

    /// Stops forwarding in both directions, without closing anything: a link that hangs.
    pub fn hold(&self) {
        self.shared.lock().held = true;
    }

    /// Forwards again, what was held back first.
    pub fn release(&self) {
        self.shared.lock().held = false;
        self.shared.changed.notify_all();
    }

    /// Returns the bytes forwarded to the server, over all connections.
    pub fn bytes_to_server(&self) -> u64 {
        self.shared.lock().to_server
    }

    /// Returns the bytes forwarded from the server, over all connections.
    pub fn bytes_from_server(&self) -> u64 {
        self.shared.lock().from_server
    }

    /// Returns the bytes forwarded in both directions together.
    pub fn bytes_sent(&self) -> u64 {
        let state = self.shared.lock();
        state.to_server + state.from_server
    }

    /// Returns how many connections were opened.
    pub fn connections(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// Returns how many connections were cut: a test of a cut should see that there was one.
    pub fn cuts(&self) -> u64 {
        self.shared.lock().cuts
    }

    fn plan(&self, direction: Direction, after: u64, times: Option<u32>) {
        self.shared.lock().cut = Some(Cut { direction, after, times });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.cut_now();
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the link is held.
    fn lock_when_moving(&self, connection: &Arc<Connection>) -> MutexGuard<'_, State> {
        let waits = |state: &mut State| state.held && state.has(connection);
        self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a connection and counts it as cut, if nobody has ended it before.
    fn cut(&self, connection: &Arc<Connection>) {
        let mut state = self.lock();
        if state.remove(connection) {
            state.cuts += 1;
        }
        connection.close();
        self.changed.notify_all();
    }
}

impl State {
    fn has(&self, connection: &Arc<Connection>) -> bool {
        self.open.iter().any(|open| Arc::ptr_eq(open, connection))
    }

    fn remove(&mut self, connection: &Arc<Connection>) -> bool {
        let before = self.open.len();
        self.open.retain(|open| !Arc::ptr_eq(open, connection));
        self.open.len() < before
    }

    /// Takes the plan for one more connection.
    fn next_cut(&mut self) -> Option<Cut> {
        let cut = self.cut?;
        self.cut = match cut.times {
            Some(0 | 1) => None,
            Some(times) => Some(Cut { times: Some(times - 1), ..cut }),
            None => Some(cut),
        };
        Some(cut)
    }
}

fn accept(socket: &TcpListener, target_port: u16, shared: &Arc<Shared>) {
    for client in socket.incoming() {
        if shared.lock().closing {
            return;
        }
        // Where the server is not there, the client sees its connection closed, as it would without us.
        let Ok(client) = client else { continue };
        let Ok(server) = TcpStream::connect(("127.0.0.1", target_port)) else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let mut state = shared.lock();
        state.accepted += 1;
        let connection = Arc::new(Connection { client, server, cut: state.next_cut() });
        state.open.push(Arc::clone(&connection));
        drop(state);
        if connection.cut.is_some_and(|cut| cut.after == 0) {
            shared.cut(&connection);
            continue;
        }
        for direction in [Direction::ToServer, Direction::FromServer] {
            let (connection, shared) = (Arc::clone(&connection), Arc::clone(shared));
            thread::spawn(move || forward(&connection, direction, &shared));
        }
    }
}

/// Forwards one direction until its end, its cut or its failure.
fn forward(connection: &Arc<Connection>, direction: Direction, shared: &Shared) {
    let (mut from, mut to) = match direction {
        Direction::ToServer => (&connection.client, &connection.server),
        Direction::FromServer => (&connection.server, &connection.client),
    };
    let limit = connection.limit(direction);
    let mut forwarded = 0;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut chunk).unwrap_or(0);
        let mut state = shared.lock_when_moving(connection);
        if !state.has(connection) {
            return;
        }
        if read == 0 {
            state.remove(connection);
            connection.close();
            return;
        }
        let allowed = usize::try_from(limit - forwarded).unwrap_or(usize::MAX).min(read);
        match direction {
            Direction::ToServer => state.to_server += allowed as u64,
            Direction::FromServer => state.from_server += allowed as u64,
        }
        drop(state);
        if to.write_all(&chunk[..allowed]).is_err() {
            connection.close();
            shared.lock().remove(connection);
            return;
        }
        forwarded += allowed as u64;
        if forwarded == limit {
            shared.cut(connection);
            return;
        }
    }
}
