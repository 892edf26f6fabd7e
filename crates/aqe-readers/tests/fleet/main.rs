//! Environments with real databases that work, sync and break in any order: in the end all
//! of them show the same, and every number is how often something really happened.

mod place;
mod simulation;
