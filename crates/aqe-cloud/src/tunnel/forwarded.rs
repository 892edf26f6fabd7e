//! Through a port of this machine that somebody else keeps forwarded.

use std::sync::atomic::{AtomicBool, Ordering};

use aqe_sync_core::{Error, ErrorKind, Result, Retry};
use futures::future::BoxFuture;

use super::probe::{Found, probe};
use crate::postgres::doctor::Check;
use crate::postgres::link::{Address, Connector, Wire, open_tcp};

/// Goes through a port of this machine, after having seen that a PostgreSQL is behind it: no
/// password is sent to whatever else may listen there.
///
/// Anybody on this machine can use such a port.
#[derive(Debug)]
pub struct Forwarded {
    port: u16,
    known: AtomicBool,
}

impl Forwarded {
    /// Names the port.
    pub fn new(port: u16) -> Self {
        Self { port, known: AtomicBool::new(false) }
    }

    async fn connect(&self, address: &Address) -> Result<Box<dyn Wire>> {
        if !self.known.load(Ordering::Relaxed) {
            probe(self.port).await.map_err(|found| self.unusable(&found))?;
            self.known.store(true, Ordering::Relaxed);
        }
        let opened = open_tcp("localhost", self.port, address.connect_timeout()).await;
        opened.map(|stream| Box::new(stream) as Box<dyn Wire>).map_err(|error| {
            // Whoever listens there next may be another.
            self.known.store(false, Ordering::Relaxed);
            self.unusable(&Found::Nobody(error))
        })
    }

    fn unusable(&self, found: &Found) -> Error {
        let (kind, retry, advice) = match found {
            Found::Nobody(_) => (ErrorKind::Io, Retry::Later, "start the tunnel, or have aqe-sync open one itself"),
            Found::Closes | Found::Silent => (
                ErrorKind::Io,
                Retry::Later,
                "the tunnel may have lost its far end: see what it says, and start it anew",
            ),
            Found::Stranger(_) => (ErrorKind::Invalid, Retry::Never, "check the number of the port"),
        };
        let what = format!("port {} of this machine leads to no PostgreSQL: {found}", self.port);
        Error::new(kind, what).retry(retry).advice(advice)
    }
}

impl Connector for Forwarded {
    fn open<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Wire>>> {
        Box::pin(self.connect(address))
    }

    fn examine<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, Vec<Check>> {
        Box::pin(async move {
            vec![match probe(self.port).await {
                Ok(()) => Check::ok("tunnel", format!("a PostgreSQL answers at port {} of this machine", self.port)),
                Err(found) => {
                    let error = self.unusable(&found);
                    Check::critical("tunnel", error.to_string(), "without the tunnel the hub cannot be reached")
                }
            }]
        })
    }

    fn protection(&self) -> Option<&'static str> {
        Some("the port is forwarded, and it depends on what forwards it")
    }
}
