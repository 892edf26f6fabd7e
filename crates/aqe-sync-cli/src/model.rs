//! The embedding model of this program.

use std::path::Path;

use aqe_sync_core::Embedder;

use crate::config::Settings;
use crate::exit::Failure;
use crate::output::Terminal;

/// What to do where there is no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Fetch it, unless the settings forbid it.
    Fetch,
    /// Go without.
    Leave,
}

/// The model, from the folder that is named, else the one that is configured, else the cache.
///
/// # Errors
/// When there is none, or it cannot be read; says how to get one.
#[cfg(feature = "embed")]
pub(crate) fn open(
    settings: &Settings,
    given: Option<&Path>,
    missing: Missing,
    terminal: &Terminal,
) -> Result<Box<dyn Embedder>, Failure> {
    use aqe_embed::{MiniLm, ModelFolder};

    let configured = settings.embed.model_dir.as_ref().map(|dir| dir.value.as_path());
    let named = given.or(configured);
    let folder = match ModelFolder::find(named) {
        Ok(folder) => folder,
        Err(error) => {
            let may = settings.embed.download.as_ref().is_none_or(|download| download.value);
            // Nobody's own folder is filled.
            let cache = ModelFolder::cache().filter(|_| named.is_none() && may && missing == Missing::Fetch);
            match cache {
                Some(cache) => fetch(settings, &cache, terminal)?,
                None => return Err(error.into()),
            }
        }
    };
    Ok(Box::new(MiniLm::open(&folder)?))
}

#[cfg(feature = "embed")]
fn fetch(settings: &Settings, cache: &Path, terminal: &Terminal) -> Result<aqe_embed::ModelFolder, Failure> {
    use aqe_embed::Download;

    use crate::output::Bar;

    let download = match &settings.embed.url {
        Some(url) => Download::from(&url.value)?,
        None => Download::default(),
    };
    terminal.say(&format!("fetching the embedding model to {}", crate::output::plain(&cache.display().to_string())));
    let bar = Bar::new(terminal);
    let folder = download.fetch(cache, |at| bar.at(at.file, at.bytes, at.of));
    bar.end();
    Ok(folder?)
}

/// How the published model is named, where nobody need have it to count.
pub(crate) fn published() -> &'static str {
    #[cfg(feature = "embed")]
    return aqe_embed::PUBLISHED;
    #[cfg(not(feature = "embed"))]
    return "";
}

/// Without the feature there is none.
#[cfg(not(feature = "embed"))]
pub(crate) fn open(_: &Settings, _: Option<&Path>, _: Missing, _: &Terminal) -> Result<Box<dyn Embedder>, Failure> {
    Err(Failure::failed("this aqe-sync was built without embeddings (cargo feature embed): install one that has them"))
}
