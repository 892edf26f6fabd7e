//! Which flavour a new hub gets.

use aqe_sync_core::{Error, ErrorKind, Identifier, Result};
use tokio_postgres::Client;

use super::flavour::{Flavour, VectorKind};
use super::present::{self, Survey};
use super::{Setup, refusal};

const AVAILABLE: &str =
    "SELECT name::text FROM pg_catalog.pg_available_extensions WHERE name IN ('ruvector', 'vector')";

/// Takes what is installed, else installs what is there to be installed, else does
/// without; and says why where a person could do something about it.
pub(super) async fn choose(
    client: &Client,
    schema: &Identifier,
    setup: &Setup,
    survey: &Survey,
) -> Result<(Flavour, Vec<String>)> {
    if let Some(flavour) = installed(setup, survey) {
        return Ok((flavour, Vec::new()));
    }
    let mut notes = Vec::new();
    for kind in available(client, schema, setup).await? {
        let name = kind.as_str();
        let created = client.batch_execute(&format!("CREATE EXTENSION IF NOT EXISTS {name}")).await;
        // Asked in any case: another init may have installed it at the same moment.
        let survey = present::survey(client, schema)
            .await
            .map_err(|cause| refusal::failed("looking for vectors", schema, cause))?;
        let flavour = Flavour::of(kind, &survey.extensions);
        match created {
            _ if flavour.extension().is_some() => return Ok((flavour, Vec::new())),
            Err(cause) => {
                let said = cause.as_db_error().map_or_else(|| cause.to_string(), |error| error.message().to_owned());
                notes.push(format!(
                    "the server has the extension {name}, but user {} could not install it ({said}); have a superuser \
                     run CREATE EXTENSION {name} in database {} before the hub is made",
                    survey.server.user, survey.server.database
                ));
            }
            Ok(()) => notes.push(format!("the extension {name} has no type for vectors")),
        }
    }
    if let Some(kind) = setup.vectors {
        return Err(not_there(kind, notes.first()));
    }
    notes.push("no vector extension: the hub keeps vectors as real[], and searches them exactly".to_owned());
    Ok((Flavour::NONE, notes))
}

/// What [`choose`] would try first.
pub(super) async fn plan(client: &Client, schema: &Identifier, setup: &Setup, survey: &Survey) -> Result<Flavour> {
    if let Some(flavour) = installed(setup, survey) {
        return Ok(flavour);
    }
    match (available(client, schema, setup).await?.first(), setup.vectors) {
        (Some(kind), _) => Ok(Flavour::expected(*kind)),
        (None, Some(kind)) => Err(not_there(kind, None)),
        (None, None) => Ok(Flavour::NONE),
    }
}

fn installed(setup: &Setup, survey: &Survey) -> Option<Flavour> {
    match setup.vectors {
        Some(kind) => Some(Flavour::of(kind, &survey.extensions)).filter(Flavour::is_usable),
        None => Some(Flavour::best(&survey.extensions)).filter(|flavour| flavour.extension().is_some()),
    }
}

/// Extensions that could be installed, the preferred first.
async fn available(client: &Client, schema: &Identifier, setup: &Setup) -> Result<Vec<VectorKind>> {
    let rows = client
        .query_typed(AVAILABLE, &[])
        .await
        .map_err(|cause| refusal::failed("looking for vector extensions", schema, cause))?;
    let mut names = Vec::new();
    for row in &rows {
        names.push(row.try_get::<_, String>(0).map_err(|cause| refusal::failed("looking for vectors", schema, cause))?);
    }
    let wanted = |kind: &VectorKind| setup.vectors.is_none_or(|vectors| vectors == *kind);
    let there = |kind: &VectorKind| names.iter().any(|name| name == kind.as_str());
    Ok(VectorKind::PREFERRED.into_iter().filter(|kind| wanted(kind) && there(kind)).collect())
}

fn not_there(kind: VectorKind, why: Option<&String>) -> Error {
    let name = kind.as_str();
    let message = why.cloned().unwrap_or_else(|| format!("the server does not have the extension {name}"));
    Error::new(ErrorKind::NotFound, message)
        .during("making the hub")
        .advice(format!("install {name} on the server, or let the hub choose how to keep vectors"))
}
