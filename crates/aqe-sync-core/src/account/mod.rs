//! What runs tell, and what hubs remember of them.

pub mod audit;
pub mod event;
pub mod history;
pub mod overview;
pub mod report;
