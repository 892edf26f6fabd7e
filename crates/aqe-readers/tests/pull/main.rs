//! Pulls into copies of real files of agents.

mod conforming;
mod crashes;
mod layouts;
mod own;
mod refusals;
mod world;
mod writers;
