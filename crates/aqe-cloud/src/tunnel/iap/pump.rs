//! Keeps a session going: over another transport whenever one breaks.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Retry};
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::Fuse;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};
use tokio_tungstenite::tungstenite::Message;

use super::backoff::Backoff;
use super::close::{self, Closing};
use super::dial::{DIAL_LIMIT, Dialer, Socket};
use super::drive::Drive;
use super::exchange::{Exchange, Stop};

/// How long what was written last may take when nobody waits for it any more.
const LINGER: Duration = Duration::from_secs(5);

/// Where the near end finds out why its stream has ended.
pub(super) type Ending = Arc<Mutex<Option<Error>>>;

/// The far side of a stream.
pub(super) struct Pump {
    dialer: Arc<Dialer>,
    drive: Drive<DuplexStream, Socket>,
    /// Resolved when the near end is dropped.
    gone: Fuse<oneshot::Receiver<()>>,
    linger: Option<Pin<Box<Sleep>>>,
}

impl Pump {
    pub(super) fn new(
        dialer: Arc<Dialer>,
        socket: Socket,
        exchange: Exchange,
        near: DuplexStream,
        gone: oneshot::Receiver<()>,
    ) -> Self {
        let drive = Drive::new(near, socket, exchange, Message::Close(None));
        Self { dialer, drive, gone: gone.fuse(), linger: None }
    }

    /// Runs until either end closes, or the session cannot go on; then says why in `ending`.
    pub(super) async fn run(mut self, ending: Ending) {
        let error = self.until_the_end().await;
        // The last words of the server come before the end itself.
        let undelivered = self.drive.undelivered();
        tokio::select! {
            _ = self.drive.near.write_all(&undelivered) => {}
            _ = &mut self.gone => {}
        }
        *ending.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    async fn until_the_end(&mut self) -> Option<Error> {
        let mut backoff = None;
        let mut progress = self.drive.exchange.session.progress();
        loop {
            let stop = self.next_stop().await;
            if self.drive.exchange.session.progress() != progress {
                backoff = None;
            }
            progress = self.drive.exchange.session.progress();
            let lost = match judged(&self.dialer, stop) {
                Judged::Lost(error) => error,
                Judged::End => return None,
                Judged::Failure(error) => return Some(error),
            };
            if let Some(end) = self.go_on(&mut backoff, lost).await {
                return end;
            }
        }
    }

    async fn next_stop(&mut self) -> Stop {
        std::future::poll_fn(|context| {
            if self.gone.poll_unpin(context).is_ready() {
                self.linger = Some(Box::pin(sleep(LINGER)));
            }
            if self.linger.as_mut().is_some_and(|linger| linger.as_mut().poll(context).is_ready()) {
                return Poll::Ready(Stop::Done);
            }
            self.drive.poll(context)
        })
        .await
    }

    /// Asks the relay to go on over another transport: at once, then at growing intervals.
    /// Returns how the session ends if it does.
    async fn go_on(&mut self, backoff: &mut Option<Backoff>, mut why: Error) -> Option<Option<Error>> {
        if self.linger.is_some() {
            return Some(None);
        }
        loop {
            let pause = match backoff {
                None => {
                    *backoff = Some(Backoff::new());
                    Duration::ZERO
                }
                Some(backoff) => match backoff.next(fastrand::f64()) {
                    Some(pause) => pause,
                    None => return Some(Some(given_up(&why))),
                },
            };
            self.drive.disconnect();
            let attempt = async {
                sleep(pause).await;
                resumed(&self.dialer, &mut self.drive.exchange).await
            };
            let resumed = tokio::select! {
                resumed = attempt => resumed,
                _ = &mut self.gone => return Some(None),
            };
            match resumed {
                Ok(socket) => {
                    self.drive.replace(socket);
                    return None;
                }
                Err(Judged::Lost(error)) => why = error,
                Err(Judged::End) => return Some(None),
                Err(Judged::Failure(error)) => return Some(Some(error)),
            }
        }
    }
}

/// What follows from the end of a transport.
pub(super) enum Judged {
    /// The session may go on over another.
    Lost(Error),
    /// The session has ended as it should.
    End,
    /// The session has ended.
    Failure(Error),
}

pub(super) fn judged(dialer: &Dialer, stop: Stop) -> Judged {
    let lost = |why: String| {
        Error::new(ErrorKind::Io, format!("the tunnel broke: {why}"))
            .retry(Retry::Later)
            .context("instance", dialer.instance.name())
            .advice("check the network; what was committed is stored, and another try goes on from there")
    };
    match stop {
        Stop::Done => Judged::End,
        Stop::Lost(why) => Judged::Lost(lost(why)),
        Stop::Broken(what) => Judged::Failure(
            Error::new(ErrorKind::Malformed, format!("the relay broke the protocol: {what}"))
                .retry(Retry::Later)
                .context("relay", &dialer.relay.host)
                .advice(
                    "if it happens again, it is not Google's relay, or it speaks a later version: please report it",
                ),
        ),
        Stop::Closed(code, reason) => match close::meaning(code, &reason, &dialer.instance) {
            Closing::End => Judged::End,
            Closing::Resume => Judged::Lost(lost(format!("the relay closed it with code {code} {reason}"))),
            Closing::Lookup(error) => Judged::Lost(error),
            Closing::Failure(error) => Judged::Failure(error),
        },
    }
}

/// Opens a transport and waits for the relay's greeting.
pub(super) async fn resumed(dialer: &Dialer, exchange: &mut Exchange) -> Result<Socket, Judged> {
    let dialled = dialer.dial(exchange.session.resumption()).await;
    let mut socket = dialled.map_err(|error| match error.can_retry() {
        Retry::Later => Judged::Lost(error),
        Retry::Never | Retry::Exhausted => Judged::Failure(error),
    })?;
    let greeting = async {
        while !exchange.session.is_open() {
            let next = socket.next().await;
            exchange.take(next)?;
        }
        Ok(())
    };
    let greeted = tokio::time::timeout(DIAL_LIMIT, greeting).await;
    let greeted = greeted.unwrap_or_else(|_| Err(Stop::Lost("the relay did not greet in time".to_owned())));
    greeted.map(|()| socket).map_err(|stop| match judged(dialer, stop) {
        // Nothing had begun that could end.
        Judged::End => Judged::Lost(
            Error::new(ErrorKind::Io, "the relay closed the connection before there was a session").retry(Retry::Later),
        ),
        other => other,
    })
}

fn given_up(last: &Error) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("the tunnel broke, and could not be taken up again for 15 minutes; at last: {last}"),
    )
    .retry(Retry::Later)
    .advice("what was committed is stored, and the next run goes on from there")
}
