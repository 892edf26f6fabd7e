//! What goes wrong with a hub, as one of our errors.

use aqe_sync_core::{Error, ErrorKind};

/// Where a hub is, for messages.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) String);

/// PostgreSQL's error, or ours.
#[derive(Debug)]
pub(crate) enum Failure {
    Postgres(tokio_postgres::Error),
    Other(Error),
}
impl From<tokio_postgres::Error> for Failure { fn from(e: tokio_postgres::Error) -> Self { Self::Postgres(e) } }
impl From<Error> for Failure { fn from(e: Error) -> Self { Self::Other(e) } }
impl Failure {
    pub(crate) fn is_of_data(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        error.code().is_some_and(|c| c.code().starts_with("22") || c.code().starts_with("23") || c.code().starts_with("54"))
    }
    pub(crate) fn reason(&self) -> String {
        match self { Self::Postgres(e) => e.as_db_error().map_or_else(|| e.to_string(), |d| d.message().to_owned()), Self::Other(e) => e.to_string() }
    }
    pub(crate) fn can_retry(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        error.is_closed() || error.code().is_some_and(|c| ["40001", "40P01", "57P01", "57P02", "57P03", "53300"].contains(&c.code())) || error.code().is_none()
    }
    pub(crate) fn into_error(self, place: &Place, doing: &str) -> Error {
        match self {
            Self::Postgres(e) => Error::new(ErrorKind::Io, format!("{e} {:?}", e.as_db_error())).during(format!("{doing} {}", place.0)).caused_by(e),
            Self::Other(e) => e,
        }
    }
}
