//! The connection to the hub: its address, TLS, connecting, what went wrong, and trying again.
//!
//! ```no_run
//! use aqe_cloud::postgres::link::{AddressParts, Budget, Direct, connect, retry};
//!
//! # async fn example() -> aqe_sync_core::Result<()> {
//! let address = AddressParts::parse("postgres://me@hub.example/fleet?sslmode=verify-full")?.build()?;
//! let link = retry(Budget::default(), || connect(&address, &Direct)).await?;
//! link.batch_execute("SELECT 1").await.map_err(|error| link.fault("asking for a sign of life", error))?;
//! # Ok(())
//! # }
//! ```

mod address;
mod connect;
mod fault;
mod parts;
mod passfile;
mod retry;
mod sqlstate;
mod tls;
mod url;

#[cfg(feature = "iap")]
pub(crate) use self::url::encoded;
pub use address::{Address, Roots, SslMode};
pub(crate) use connect::open_tcp;
pub use connect::{Connector, Direct, Faults, Link, Wire, connect};
#[cfg(feature = "google")]
pub(crate) use fault::chain;
pub use parts::AddressParts;
pub use retry::{Budget, retry};

pub use crate::secret::Secret;
#[cfg(feature = "iap")]
pub(crate) use tls::verified;
