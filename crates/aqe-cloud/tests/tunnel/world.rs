//! What the tests of tunnels share.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aqe_cloud::postgres::link::Secret;
use aqe_cloud::testkit::relay::Relay;
use aqe_cloud::tunnel::iap::{Iap, IapStream};
use aqe_cloud::tunnel::{FixedToken, Instance};
use aqe_sync_core::{Error, Result};
use aqe_sync_workspace::answers::serve;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Far more than anything here takes; a test that hangs fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, work).await.expect("it takes too long") })
}

/// Gives back whatever comes.
pub(crate) fn echo() -> u16 {
    serve(|mut stream| {
        let mut piece = vec![0; 65_536];
        while let Ok(length) = stream.read(&mut piece) {
            if length == 0 || stream.write_all(&piece[..length]).is_err() {
                return;
            }
        }
    })
}

pub(crate) fn instance() -> Instance {
    Instance::new("my-project", "my-zone", "my-hub")
}

pub(crate) fn tunnel(relay: &Relay) -> Iap {
    let token = FixedToken::new(Secret::new("made-up")).unwrap();
    Iap::new(instance(), Arc::new(token)).relay(&relay.url()).unwrap()
}

pub(crate) async fn open(relay: &Relay) -> Result<IapStream> {
    tunnel(relay).connect(Duration::from_secs(10)).await
}

/// What a failed stream says of its failure.
pub(crate) fn reason(error: &std::io::Error) -> &Error {
    error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap_or_else(|| panic!("no reason in {error:?}"))
}

pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// Sends bytes to an echo and reads them back at the same time; says whether they are the same.
pub(crate) async fn comes_back(stream: IapStream, bytes: Vec<u8>) -> std::io::Result<bool> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut back = vec![0; bytes.len()];
    let write = async {
        writing.write_all(&bytes).await?;
        writing.flush().await
    };
    let (written, read) = tokio::join!(write, reading.read_exact(&mut back));
    written?;
    read?;
    Ok(back == bytes)
}

/// Tells one test, in a process of its own, what it is to do; in this one it does nothing.
const TOLD: &str = "AQE_TEST_TOLD";

pub(crate) fn again(test: &str, tell: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(TOLD, tell);
    command
}

pub(crate) fn told() -> Option<String> {
    std::env::var_os(TOLD).map(|told| told.into_string().unwrap())
}
