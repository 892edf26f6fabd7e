//! What is wrong is said once, and not each time.

use crate::output::plain;

/// What was wrong at the last sync.
#[derive(Default)]
pub(super) struct Trouble {
    said: Vec<String>,
    failures: u64,
}

impl Trouble {
    /// Tells what is new of all that was wrong with a sync, and when it is over.
    pub(super) fn told(&mut self, troubles: &[String], well: bool) {
        let now: Vec<String> = troubles.iter().map(|text| gist(text)).collect();
        for (trouble, same) in troubles.iter().zip(&now) {
            let trouble = plain(trouble);
            match (self.said.contains(same), well) {
                (true, _) => tracing::debug!("still: {trouble}"),
                (false, true) => tracing::warn!("{trouble}"),
                (false, false) => tracing::error!("{trouble}"),
            }
        }
        if well && self.failures > 0 {
            tracing::info!("syncing again, after {} failed", self.failures);
        }
        if well && now.is_empty() && !self.said.is_empty() && self.failures == 0 {
            tracing::info!("all well again");
        }
        self.failures = if well { 0 } else { self.failures + 1 };
        self.said = now;
    }
}

/// What is wrong, without what differs each time: counts, times, and which of its files a server
/// could not write just then.
fn gist(text: &str) -> String {
    let parts = text.split('"').enumerate();
    let kept = parts.filter(|(position, part)| position % 2 == 0 || !part.contains('/'));
    kept.flat_map(|(_, part)| part.chars()).filter(|letter| !letter.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_thing_has_the_same_gist_and_another_thing_another() {
        let full = |file: &str| format!("could not extend file \"base/16384/{file}\": No space left (SQLSTATE: 53100)");
        assert_eq!(gist(&full("t3_17316")), gist(&full("1249")));
        assert_eq!(gist("locked for 12 s by process 4711"), gist("locked for 3 s by process 4"));
        assert_ne!(gist("relation \"patterns\" is missing"), gist("relation \"events\" is missing"));
        assert_ne!(gist("a.db: torn"), gist("b.db: torn"));
        assert_eq!(gist("an \"open/quote"), "an ");
    }
}
