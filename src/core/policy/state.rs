//! What a policy remembers of one backend between two evaluations.
//!
//! ```text
//!            the wish lasts           acting(d)               applied(d)
//!  Steady ------------------> Pending ---------> Acting(d) ---------------> Cooldown(d)
//!    ^ ^ <------------------     |                  |  |                        |
//!    | |     it did not last     '- step() again    |  '- d = down: step() may  |
//!    | '--------------------------------------------'     turn it round         |
//!    |                     failed()                                             |
//!    '--------------------------------------------------------------------------'
//!                                its time is over
//! ```
//! Absent on purpose: only HAProxy's yes begins a cooldown, so a move that failed may be tried
//! again once the breach has lasted anew. From Cooldown nothing leads to Pending: figures of
//! before the move are no evidence after it. Two moves may begin within a cooldown (a burst after
//! a scale-down, and servers below the fewest); when one of these fails, the cooldown goes on.

use std::time::{Duration, Instant};

use super::stabilizer::Stabilizer;
use crate::core::settings::BackendSettings;

/// A load that was too much is not forgotten for so long. Longer, and a slow hour of a database
/// would keep servers awake all day.
const OVERLOAD_REMEMBERED: Duration = Duration::from_secs(3600);

/// An `Instant` cannot be moved on by any `Duration`; a year is for ever here.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(365 * 86_400);

/// More servers or fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// More.
    Up,
    /// Fewer.
    Down,
}

/// The state machine's state, as `status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is wished for.
    Steady,
    /// Something is, but it has to last.
    Pending {
        /// What is wished for.
        direction: Direction,
        /// Since when.
        since: Instant,
        /// Seen at so many evaluations in a row.
        evaluations: u32,
    },
    /// A plan is being carried out.
    Acting {
        /// What for.
        direction: Direction,
    },
    /// Quiet time after a move.
    Cooldown {
        /// Until then.
        until: Instant,
        /// What the move was.
        after: Direction,
    },
}

/// What the policy remembers. [`State::default`] is the state after a start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    acting: Option<Direction>,
    cooldown: Option<Cooldown>,
    /// Too slow, or no room.
    pub(super) breach: Stabilizer,
    /// Faster than needed.
    pub(super) calm: Stabilizer,
    overload: Option<Overload>,
}

/// Begun by a move after which it is quiet `until` then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cooldown {
    until: Instant,
    after: Direction,
}

/// The load at which the servers were last too slow.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Overload {
    at: Instant,
    requests_per_server: f64,
}

impl State {
    /// A cooldown after a move in `direction` that lasts `until`: what an agent before this one left.
    pub fn cooling_down(after: Direction, until: Instant) -> Self {
        Self { cooldown: Some(Cooldown { until, after }), ..Self::default() }
    }

    /// A plan for `direction` has begun.
    pub fn acting(self, direction: Direction) -> Self {
        Self { acting: Some(direction), ..self }.without_pending()
    }

    /// HAProxy has said yes: the cooldown begins at `now`. Also for a state restored from a file,
    /// with `now` when the move was, and for a move that only partly came about.
    pub fn applied(self, now: Instant, direction: Direction, settings: &BackendSettings) -> Self {
        let cooldown = match direction {
            Direction::Up => settings.scale_up.cooldown,
            Direction::Down => settings.scale_down.cooldown,
        };
        let until = now + cooldown.min(LONGEST_COOLDOWN);
        Self { acting: None, cooldown: Some(Cooldown { until, after: direction }), ..self }.without_pending()
    }

    /// Nothing came of the plan, or there was nothing to plan: no cooldown begins.
    pub fn failed(self) -> Self {
        Self { acting: None, ..self }.without_pending()
    }

    /// Where the machine stands at `now`.
    pub fn phase(&self, now: Instant) -> Phase {
        let pending = |direction, wish: &Stabilizer| {
            let evaluations = wish.evaluations();
            wish.since().map(|since| Phase::Pending { direction, since, evaluations })
        };
        match (self.acting, self.cooldown) {
            (Some(direction), _) => Phase::Acting { direction },
            (None, Some(Cooldown { until, after })) if now < until => Phase::Cooldown { until, after },
            (None, _) => pending(Direction::Up, &self.breach)
                .or_else(|| pending(Direction::Down, &self.calm))
                .unwrap_or(Phase::Steady),
        }
    }

    /// What is left of the cooldown; `None` outside of one.
    pub fn cooldown_left(&self, now: Instant) -> Option<Duration> {
        match self.phase(now) {
            Phase::Cooldown { until, .. } => Some(until - now),
            _ => None,
        }
    }

    /// From when on a move is possible, as far as moves before it are concerned; `None` while one
    /// is being carried out. A burst after a scale-down, or too few servers, need not wait for it.
    pub fn may_move_next(&self, now: Instant) -> Option<Instant> {
        match self.phase(now) {
            Phase::Acting { .. } => None,
            Phase::Cooldown { until, .. } => Some(until),
            Phase::Steady | Phase::Pending { .. } => Some(now),
        }
    }

    /// The servers were too slow at so many requests a second each.
    pub(super) fn remember_overload(&mut self, now: Instant, requests_per_server: f64) {
        self.overload = Some(Overload { at: now, requests_per_server });
    }

    /// Requests a second and server that were too much within the last hour.
    pub(super) fn overload(&self, now: Instant) -> Option<f64> {
        let known = self.overload?;
        (now.saturating_duration_since(known.at) < OVERLOAD_REMEMBERED).then_some(known.requests_per_server)
    }

    /// Nothing is wished for, or nobody can tell.
    pub(super) fn reset_pending(&mut self) {
        self.breach.reset();
        self.calm.reset();
    }

    fn without_pending(mut self) -> Self {
        self.reset_pending();
        self
    }
}
