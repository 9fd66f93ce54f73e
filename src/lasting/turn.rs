//! Of several HAProxys one is reloaded at a time, and none before all were looked at after the last reload.

use std::time::Instant;

use tokio::sync::{Mutex, MutexGuard};

/// Whose turn it is, and when the last one ended.
#[derive(Debug, Default)]
pub struct Turn(Mutex<Option<Instant>>);

/// Why it is not one's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Another HAProxy is being reloaded.
    Now,
    /// Another one was, and has not been looked at since.
    Lately,
}

/// It is one's turn until this is dropped.
#[derive(Debug)]
pub(super) struct Held<'a>(MutexGuard<'a, Option<Instant>>);

impl Turn {
    /// For one who has looked at all of them at `seen`.
    pub(super) fn take(&self, seen: Option<Instant>) -> Result<Held<'_>, Taken> {
        let last = self.0.try_lock().map_err(|_| Taken::Now)?;
        if last.is_some() && *last >= seen { Err(Taken::Lately) } else { Ok(Held(last)) }
    }
}

impl Held<'_> {
    /// A reload was made, or tried.
    pub(super) fn end(mut self) {
        *self.0 = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_next_one_waits_for_the_end_and_for_a_look_after_it() {
        let turn = Turn::default();
        let seen = Instant::now();
        let held = turn.take(Some(seen)).unwrap();
        assert_eq!(turn.take(Some(seen)).unwrap_err(), Taken::Now);
        // Nothing was done.
        drop(held);
        turn.take(Some(seen)).unwrap().end();
        assert_eq!(turn.take(Some(seen)).unwrap_err(), Taken::Lately);
        assert_eq!(turn.take(None).unwrap_err(), Taken::Lately);
        assert!(turn.take(Some(Instant::now() + Duration::from_secs(1))).is_ok());
    }
}
