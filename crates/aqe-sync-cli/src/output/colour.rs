//! Colours, where they are wanted.

/// What is painted how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Headings and totals.
    Bold,
    /// What is of less interest.
    Dim,
    /// What went wrong.
    Red,
    /// What went well.
    Green,
    /// What needs attention.
    Yellow,
    /// What is worth knowing.
    Cyan,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }
}

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    /// With colours or without.
    pub(crate) fn new(wanted: bool) -> Self {
        Self(wanted)
    }

    /// Whether colours are wanted.
    pub(crate) fn wanted(self) -> bool {
        self.0
    }

    /// The text in a colour.
    pub(crate) fn on(self, text: &str, colour: Colour) -> String {
        if self.0 { format!("\u{1b}[{}m{text}\u{1b}[0m", colour.code()) } else { text.to_owned() }
    }
}
