//! What the daemon tells whoever started it: systemd, where that is who did.

use std::time::Duration;

/// The states of a service.
#[derive(Clone, Copy, Debug)]
pub(super) enum State<'a> {
    Ready,
    Reloading,
    Stopping,
    Alive,
    Doing(&'a str),
}

/// Tells a state, if anybody asked for it (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>).
#[cfg(target_os = "linux")]
pub(super) fn tell(state: State<'_>) {
    use sd_notify::NotifyState;
    let told = match state {
        State::Ready => sd_notify::notify(&[NotifyState::Ready]),
        State::Reloading => match NotifyState::monotonic_usec_now() {
            Ok(now) => sd_notify::notify(&[NotifyState::Reloading, now]),
            Err(error) => Err(error),
        },
        State::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        State::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        State::Doing(what) => sd_notify::notify(&[NotifyState::Status(what)]),
    };
    // Nobody listens: the daemon was started by hand.
    drop(told);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn tell(_: State<'_>) {}

/// How often a sign of life is wanted: twice within the time after which it would be missed.
#[cfg(target_os = "linux")]
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn watchdog() -> Option<Duration> {
    None
}
