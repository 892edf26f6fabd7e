//! How far a file has got on its way.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Terminal;

/// One moving line, where somebody looks.
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    /// Starts it.
    pub(crate) fn new(terminal: &Terminal) -> Self {
        let bar = (super::watched() && terminal.speaks()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}")
            {
                bar.set_style(style);
            }
            bar
        });
        Self(bar)
    }

    /// So far it is.
    pub(crate) fn at(&self, name: &str, position: u64, of: u64) {
        if let Some(bar) = &self.0 {
            bar.set_message(name.to_owned());
            bar.set_length(of);
            bar.set_position(position);
        }
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
