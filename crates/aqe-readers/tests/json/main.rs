//! JSON and redb sources over real files, and over files made hostile from them.

mod faults;
mod layouts;
mod odd;
mod reading;
mod vectors;
