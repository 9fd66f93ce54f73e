//! Signals from outside, and what systemd is told.

use sd_notify::NotifyState;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Interval, MissedTickBehavior};

/// What woke the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM or SIGINT, by name.
    Stop(&'static str),
    /// SIGHUP.
    Reload,
    /// systemd wants a sign of life.
    Watchdog,
}

/// SIGTERM, SIGINT, SIGHUP and the watchdog's beat.
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
    beat: Option<Interval>,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            // Twice as often as systemd asks for, as its manual recommends (sd_watchdog_enabled(3)).
            beat: sd_notify::watchdog_enabled().map(|limit| interval(limit / 2)),
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        let beat = async {
            match &mut self.beat {
                Some(beat) => beat.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.hang_up.recv() => Signal::Reload,
            _ = beat => Signal::Watchdog,
        }
    }
}

pub(super) fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

pub(super) fn notify_alive() {
    notify(&[NotifyState::Watchdog]);
}

pub(super) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

pub(super) fn notify_reloading() {
    notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now().unwrap_or(NotifyState::Ready)]);
}

/// Without systemd there is nobody to tell; with it, a failure only costs a restart by its watchdog.
fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// Beats that a stall has swallowed are not made up for.
fn interval(every: std::time::Duration) -> Interval {
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}
