//! Ways to a hub: Google's relay, gcloud, forwarded ports, and where tokens come from.

mod forwarded;
mod gcloud;
mod google;
mod postgres;
mod refusals;
mod relay;
mod secrets;
mod world;
