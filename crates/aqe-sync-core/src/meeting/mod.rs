//! What happens where versions or streams meet.

pub mod conflict;
pub mod meet;
pub mod revert;
