//! Stands in for the comparison in the core until it is merged. Temporary.
#![allow(dead_code, clippy::all, clippy::pedantic, unreachable_pub)]

use aqe_sync_core::*;
use serde::Serialize;

pub mod verify {
    use super::*;
    #[derive(Serialize)]
    pub struct VerifyReport {
        pub status: String,
        pub streams: Vec<StreamVerify>,
    }
    #[derive(Serialize)]
    pub struct StreamVerify {
        pub source: SourceName,
        pub stream: StreamName,
        pub table: String,
        pub local: u64,
        pub hub: u64,
        pub missing: Vec<String>,
        pub extra: Vec<String>,
        pub different: Vec<String>,
        pub error: Option<String>,
    }
    impl VerifyReport {
        pub fn matches(&self) -> bool {
            self.status == "match"
        }
    }
    pub async fn verify<S: Sink>(_: &S, _: &[Box<dyn DynSource>], _: &Environment) -> Result<VerifyReport> {
        Err(Error::new(ErrorKind::Incompatible, "this build cannot compare yet"))
    }
}
