//! `policy: threshold`: classic hysteresis.
//!
//! More servers when the target's statistic has been above the band for long enough, fewer when
//! it has been below for long enough or nobody asks for anything. Beyond that it knows only what
//! keeps it from doing harm. The states are drawn in [`state`](super::state).

use std::time::{Duration, Instant};

use super::decision::{Decision, Reason};
use super::fleet::Fleet;
use super::reading::{Evaluation, Overload, Reading};
use super::state::{Direction, Phase, State};
use crate::core::estimate::snapshot::Snapshot;
use crate::core::settings::BackendSettings;

/// Decides at `now`. Pure: the same arguments give the same decision.
///
/// A decision to move is only a wish, and comes again until the caller says what becomes of it:
/// [`State::acting`] when a plan begins, then [`State::applied`] or [`State::failed`]. While
/// servers are being taken away, [`Decision::ScaleUp`] means that this is to be called off.
pub fn step(
    mut state: State,
    now: Instant,
    snapshot: &Snapshot,
    fleet: &Fleet,
    settings: &BackendSettings,
) -> (State, Decision) {
    let decision = Evaluation { now, seen: snapshot, fleet, settings }.decide(&mut state);
    (state, decision)
}

impl Evaluation<'_> {
    fn decide(&self, state: &mut State) -> Decision {
        let phase = state.phase(self.now);
        if phase == (Phase::Acting { direction: Direction::Up }) {
            return Decision::Hold(Reason::Acting);
        }
        if let Some(decision) = self.below_min() {
            state.reset_pending();
            return decision;
        }
        if let Some(left) = self.start_left() {
            state.reset_pending();
            return Decision::Hold(Reason::JustStarted { left });
        }
        match phase {
            Phase::Acting { .. } => self.turn_round(state),
            Phase::Cooldown { until, after } => self.cool_down(state, until, after),
            Phase::Steady | Phase::Pending { .. } => self.act_freely(state),
        }
    }

    /// For so long the window is not yet whole.
    fn start_left(&self) -> Option<Duration> {
        self.settings.window.length.checked_sub(self.seen.observed).filter(|left| !left.is_zero())
    }

    /// An operator's limit: it needs no figures, and so holds from the first look at HAProxy on.
    fn below_min(&self) -> Option<Decision> {
        let (serving, min) = (self.fleet.serving, self.min());
        let missing = min.checked_sub(serving).filter(|&missing| missing > 0)?;
        Some(up(self.addable(missing), Reason::BelowMin { serving, min }))
    }

    /// While servers are being taken away, only too much load is of interest.
    fn turn_round(&self, state: &mut State) -> Decision {
        match self.reading() {
            Reading::Overload(overload) => match self.breach(state, overload) {
                Decision::Hold(Reason::PendingUp { .. }) => Decision::Hold(Reason::Acting),
                confirmed => confirmed,
            },
            _ => {
                state.breach.reset();
                Decision::Hold(Reason::Acting)
            }
        }
    }

    /// A burst may break the cooldown after a scale-down, which may have been the mistake; it has
    /// to last as any other breach.
    fn cool_down(&self, state: &mut State, until: Instant, after: Direction) -> Decision {
        let cooling = Decision::Hold(Reason::CoolingDown { left: until.saturating_duration_since(self.now) });
        let Some(burst) = self.burst().filter(|_| after == Direction::Down) else {
            state.breach.reset();
            return cooling;
        };
        if !self.has_lasted(state).1 {
            return cooling;
        }
        self.remember_overload(state);
        up(self.addable(self.settings.scale_up.step), burst)
    }

    fn act_freely(&self, state: &mut State) -> Decision {
        if let Some(decision) = self.above_max() {
            state.reset_pending();
            return decision;
        }
        let reading = self.reading();
        if !matches!(reading, Reading::Overload(_)) {
            state.breach.reset();
        }
        if !matches!(reading, Reading::Relaxed(_) | Reading::ThinAndFast(_)) {
            state.calm.reset();
        }
        match reading {
            Reading::Overload(overload) => self.breach(state, overload),
            Reading::Relaxed(latency) => self.calm(state, latency),
            Reading::Idle(since) => self.idle(since),
            Reading::InBand(latency) => Decision::Hold(self.in_band(latency)),
            Reading::ThinAndFast(reason) | Reading::Unknown(reason) => Decision::Hold(reason),
        }
    }

    /// An operator's limit, not a guess from figures: it needs neither samples nor patience.
    fn above_max(&self) -> Option<Decision> {
        let serving = self.fleet.serving;
        let max = self.settings.ready.max.filter(|&max| serving > max)?;
        let excess = (serving - max).min(self.settings.scale_down.step);
        Some(down(self.removable(excess), Reason::AboveMax { serving, max }))
    }

    fn breach(&self, state: &mut State, overload: Overload) -> Decision {
        let (since, has_lasted) = self.has_lasted(state);
        let reason = self.overloaded(overload, since);
        if !has_lasted {
            let scale_up = self.settings.scale_up;
            return Decision::Hold(Reason::PendingUp {
                wish: Box::new(reason),
                since,
                needed: scale_up.stabilization_window,
                breaches: scale_up.breaches,
            });
        }
        if !matches!(overload, Overload::Queued(_)) {
            self.remember_overload(state);
        }
        up(self.addable(self.settings.scale_up.step), reason)
    }

    fn calm(&self, state: &mut State, latency: Duration) -> Decision {
        let since = state.calm.confirm(self.now);
        let needed = self.settings.scale_down.stabilization_window;
        let (statistic, lower) = (self.settings.target.statistic, self.settings.band.lower());
        let reason = Reason::Relaxed { statistic, latency, lower, since };
        if since < needed {
            return Decision::Hold(Reason::PendingDown { wish: Box::new(reason), since, needed });
        }
        down(self.dispensable(self.settings.scale_down.step, state), reason)
    }

    fn idle(&self, since: Duration) -> Decision {
        let (reason, needed) = (Reason::Idle { since }, self.settings.scale_down.idle_after);
        if since < needed {
            return Decision::Hold(Reason::PendingDown { wish: Box::new(reason), since, needed });
        }
        down(self.removable(self.settings.scale_down.step), reason)
    }

    /// Counts this evaluation as a breach: since when there is one, and whether that is enough.
    fn has_lasted(&self, state: &mut State) -> (Duration, bool) {
        let since = state.breach.confirm(self.now);
        let wanted = self.settings.scale_up;
        let often = wanted.breaches > 0 && state.breach.evaluations() >= wanted.breaches;
        (since, often || since >= wanted.stabilization_window)
    }

    fn remember_overload(&self, state: &mut State) {
        state.remember_overload(self.now, self.seen.rate / f64::from(self.fleet.serving.max(1)));
    }

    fn overloaded(&self, overload: Overload, since: Duration) -> Reason {
        let (statistic, upper) = (self.settings.target.statistic, self.settings.band.upper());
        match overload {
            Overload::Slow(latency) => Reason::Breach { statistic, latency, upper, since },
            Overload::Saturated { failed, of } => Reason::Saturation { failed, of, since },
            Overload::Queued(queued) => Reason::BlindQueue { queued, since },
        }
    }

    fn in_band(&self, latency: Duration) -> Reason {
        let (statistic, band) = (self.settings.target.statistic, self.settings.band);
        Reason::InBand { statistic, latency, lower: band.lower(), upper: band.upper() }
    }
}

fn up(by: Result<u32, Reason>, reason: Reason) -> Decision {
    by.map_or_else(Decision::Hold, |by| Decision::ScaleUp { by, reason })
}

fn down(by: Result<u32, Reason>, reason: Reason) -> Decision {
    by.map_or_else(Decision::Hold, |by| Decision::ScaleDown { by, prefer: Vec::new(), reason })
}
