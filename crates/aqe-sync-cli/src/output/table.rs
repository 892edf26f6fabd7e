//! Tables that a person reads at a glance and `awk` can split.

use std::fmt::Display;

use comfy_table::{Attribute, Cell as Inner, CellAlignment, Color, Table as Drawn, presets};

use super::{Colour, Paint, plain};

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    right: bool,
    colour: Option<Colour>,
}

impl Cell {
    /// Text, on the left.
    pub(crate) fn text(text: impl Display) -> Self {
        Self { text: plain(&text.to_string()), right: false, colour: None }
    }

    /// A number, on the right.
    pub(crate) fn number(number: u64) -> Self {
        Self::right(super::count(number))
    }

    /// Anything, on the right.
    pub(crate) fn right(text: impl Display) -> Self {
        Self { right: true, ..Self::text(text) }
    }

    /// The same in a colour.
    pub(crate) fn colour(self, colour: Colour) -> Self {
        Self { colour: Some(colour), ..self }
    }

    fn drawn(&self, paint: Paint) -> Inner {
        let alignment = if self.right { CellAlignment::Right } else { CellAlignment::Left };
        let cell = Inner::new(&self.text).set_alignment(alignment);
        match self.colour.filter(|_| paint.wanted()) {
            None => cell,
            Some(Colour::Bold) => cell.add_attribute(Attribute::Bold),
            Some(Colour::Dim) => cell.add_attribute(Attribute::Dim),
            Some(Colour::Red) => cell.fg(Color::DarkRed),
            Some(Colour::Green) => cell.fg(Color::DarkGreen),
            Some(Colour::Yellow) => cell.fg(Color::DarkYellow),
            Some(Colour::Cyan) => cell.fg(Color::DarkCyan),
        }
    }
}

/// Rows under a heading.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    heading: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows. Headings of numbers start with `>`.
    pub(crate) fn new(heading: &[&str]) -> Self {
        let cell = |name: &&str| match name.strip_prefix('>') {
            Some(name) => Cell::right(name).colour(Colour::Bold),
            None => Cell::text(name).colour(Colour::Bold),
        };
        Self { heading: heading.iter().map(cell).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines for standard output, without trailing spaces. Cells are never
    /// broken: a number in two halves is worse than a line that is too long.
    pub(crate) fn draw(&self, paint: Paint) -> String {
        let mut table = Drawn::new();
        if paint.wanted() {
            table.enforce_styling();
        }
        self.fill(table, paint)
    }

    /// The lines for anywhere, without colours and never wrapped.
    pub(crate) fn draw_plain(&self) -> String {
        self.fill(Drawn::new(), Paint::new(false))
    }

    fn fill(&self, mut table: Drawn, paint: Paint) -> String {
        table.load_preset(presets::NOTHING);
        if !self.heading.is_empty() {
            table.set_header(self.heading.iter().map(|cell| cell.drawn(paint)));
        }
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| cell.drawn(paint)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_on_the_right_and_nothing_trails() {
        let mut table = Table::new(&["name", ">read"]);
        table.row(vec![Cell::text("one"), Cell::number(1_204)]);
        table.row(vec![Cell::text("another"), Cell::number(7)]);
        assert_eq!(table.draw(Paint::new(false)), "name      read\none      1,204\nanother      7");
    }
}
