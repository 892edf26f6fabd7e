//! Ways to a database that has no public address, each a [`Connector`].
//!
//! | connector | what it needs | who else can use the way |
//! |---|---|---|
//! | [`Direct`] | the database's address | whoever has it |
//! | [`iap::Iap`] (feature `iap`) | Google credentials | nobody: there is no port |
//! | [`Gcloud`] | the Google Cloud SDK | everybody on this machine, while it lasts |
//! | [`Forwarded`] | a tunnel that somebody else keeps open | everybody on this machine |
//!
//! TLS, where the hub's address asks for it, is spoken with the database itself, inside the tunnel.

mod forwarded;
mod gcloud;
#[cfg(feature = "google")]
mod google;
#[cfg(feature = "iap")]
pub mod iap;
mod instance;
mod probe;
mod token;

pub use forwarded::Forwarded;
pub use gcloud::Gcloud;
#[cfg(feature = "secret-manager")]
pub(crate) use google::choose_tls_provider;
#[cfg(feature = "google")]
pub use google::{GoogleCredentials, Places};
pub use instance::Instance;
pub use token::{FixedToken, TokenSource};

pub use crate::postgres::link::{Connector, Direct, Wire};

/// What a relay does for the bytes. Without TLS there is only one on this machine.
fn protection(relay: &str) -> &'static str {
    if relay.starts_with("ws:") {
        "the relay is on this machine, and it depends on where it leads"
    } else {
        "the tunnel encrypts up to the instance's network"
    }
}
