//! A socket that others send to: bound as soon as it can be, and tried again until then.

use std::time::{Duration, Instant};

use super::link::LinkEvent;
use super::turn::Turn;

/// How often it is tried again: somebody who is asked to let go of an address does so within seconds.
const RETRY: Duration = Duration::from_secs(1);

/// The socket, or why there is none.
pub(super) struct Bound<S> {
    socket: Option<S>,
    retry_at: Option<Instant>,
    to_tell: Vec<LinkEvent>,
    told: Option<LinkEvent>,
}

impl<S> Bound<S> {
    /// Nothing yet; the first [`Bound::bind`] tries at once.
    pub(super) fn none() -> Self {
        Self { socket: None, retry_at: None, to_tell: Vec::new(), told: None }
    }

    pub(super) fn socket(&self) -> Option<&S> {
        self.socket.as_ref()
    }

    /// Binds with `bind`, unless there is a socket or it is not yet time to try again. The socket comes
    /// with what to tell of it.
    pub(super) fn bind(
        &mut self,
        now: Instant,
        bind: impl FnOnce() -> Result<(S, Vec<LinkEvent>), LinkEvent>,
    ) {
        if self.socket.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        match bind() {
            Ok((socket, events)) => {
                self.socket = Some(socket);
                (self.retry_at, self.told) = (None, None);
                self.to_tell.extend(events);
            }
            Err(trouble) => {
                self.retry_at = Some(now + RETRY);
                if self.told.as_ref() != Some(&trouble) {
                    self.told = Some(trouble.clone());
                    self.to_tell.push(trouble);
                }
            }
        }
    }

    /// Gives up the socket because of `trouble`, and tries again in a second.
    pub(super) fn lose(&mut self, trouble: LinkEvent, now: Instant) {
        self.socket = None;
        self.retry_at = Some(now + RETRY);
        self.told = Some(trouble.clone());
        self.to_tell.push(trouble);
    }

    /// Tells what there is to tell.
    pub(super) fn tell(&mut self, turn: &mut Turn) {
        for event in self.to_tell.drain(..) {
            turn.event(event.into());
        }
    }

    /// How long until it is tried again; `None` while there is a socket.
    pub(super) fn next_try(&self, now: Instant) -> Option<Duration> {
        self.retry_at.map(|at| at.saturating_duration_since(now))
    }
}
