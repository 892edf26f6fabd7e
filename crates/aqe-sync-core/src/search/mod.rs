//! Finding what was learned: by meaning, and by the words that stand in it.
//!
//! [`search`] asks a hub for the rows whose vectors are nearest to that of a question, and for
//! those in which its words occur, and puts both lists together by reciprocal rank fusion. All
//! of the ranking is done here, from vectors and counts: so every hub gives the same answer.
//! [`recall`] compares a hub's index with an exact search, and [`similar`] lists records of
//! different environments that say the same.

mod find;
mod rank;
mod recall;
mod similar;
mod words;

pub use find::{Answer, Hit, Query, Question, search};
pub use recall::{ENOUGH as ENOUGH_RECALL, Recall, recall};
pub use similar::{Pair, Similar, similar};
pub use words::words_of;
