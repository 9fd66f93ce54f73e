//! Who decides for a backend, and what that policy remembers.

use std::time::{Duration, Instant};

use crate::core::estimate::load::{LoadEstimator, Serving};
use crate::core::estimate::snapshot::Snapshot;
use crate::core::log::sample::Sample;
use crate::core::names::ServerId;
use crate::core::policy::decision::Decision;
use crate::core::policy::fleet::Fleet;
use crate::core::policy::model::{Evaluation, Model};
use crate::core::policy::pool::{Pool, Stage};
use crate::core::policy::state::{Direction, Phase, State};
use crate::core::policy::threshold;
use crate::core::settings::{BackendSettings, Policy};
use crate::core::units::Ratio;

/// The policy of one backend.
#[derive(Debug)]
pub(super) struct Mind {
    state: State,
    /// For [`Policy::Model`].
    modelled: Option<Box<Modelled>>,
}

#[derive(Debug)]
struct Modelled {
    load: LoadEstimator,
    model: Model,
}

/// What a policy sees at one `now`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) fleet: &'a Fleet,
    pub(super) pool: &'a Pool,
    /// The log cannot be gone by.
    pub(super) in_doubt: bool,
}

impl Mind {
    pub(super) fn new(settings: &BackendSettings, now: Instant) -> Self {
        let modelled =
            || Modelled { load: LoadEstimator::new(settings.target, now), model: Model::default() };
        let modelled = (settings.policy == Policy::Model).then(|| Box::new(modelled()));
        Self { state: State::default(), modelled }
    }

    /// The cooldown that an agent before this one left.
    pub(super) fn recall(&mut self, after: Direction, until: Instant) {
        self.state = State::cooling_down(after, until);
    }

    /// Takes other settings. What was learned stays, unless it was learned for another promise.
    pub(super) fn reconfigure(&mut self, old: &BackendSettings, new: &BackendSettings, now: Instant) {
        if (old.policy, old.target) != (new.policy, new.target) {
            self.modelled = Self::new(new, now).modelled;
        }
    }

    pub(super) fn record(&mut self, sample: &Sample, now: Instant) {
        if let Some(modelled) = &mut self.modelled {
            modelled.load.record(sample, now);
        }
    }

    /// These servers were ordered: how long they need is learned from it.
    pub(super) fn ordered(&mut self, servers: impl Iterator<Item = ServerId>, now: Instant) {
        if let Some(modelled) = &mut self.modelled {
            servers.for_each(|server| modelled.load.ordered(server, now));
        }
    }

    /// What is known of the log is no ground for the model if the log is in doubt or tells of some
    /// requests only (those that it cannot see are beside those it sees), or before anything is
    /// learned, as from a log without Tr: then the hysteresis band decides.
    pub(super) fn decide(&mut self, now: Instant, looks: &Looks<'_>, settings: &BackendSettings) -> Decision {
        if let Some(modelled) = &mut self.modelled {
            let decision = modelled.decide(now, looks.pool, settings);
            let knows_nothing = modelled.model.is_learning() && matches!(decision, Decision::Hold(_));
            if !looks.in_doubt && settings.log.sample_rate == Ratio::ALL && !knows_nothing {
                return decision;
            }
        }
        let state = std::mem::take(&mut self.state);
        let (next, decision) = threshold::step(state, now, looks.snapshot, looks.fleet, settings);
        self.state = next;
        decision
    }

    /// What the model made of its latest figures; `None` where it is not asked.
    pub(super) fn evaluation(&self) -> Option<&Evaluation> {
        self.modelled.as_ref().and_then(|modelled| modelled.model.latest())
    }

    /// `server` is slower, or fails more, than its peers.
    pub(super) fn is_outlier(&self, server: ServerId) -> bool {
        self.modelled.as_ref().is_some_and(|modelled| modelled.model.is_outlier(server))
    }

    /// A plan has begun.
    pub(super) fn acting(&mut self, direction: Direction) {
        self.state = std::mem::take(&mut self.state).acting(direction);
    }

    /// HAProxy has said yes to a move.
    pub(super) fn applied(&mut self, now: Instant, direction: Direction, settings: &BackendSettings) {
        self.state = std::mem::take(&mut self.state).applied(now, direction, settings);
    }

    /// Nothing came of a plan, or nothing could be planned.
    pub(super) fn failed(&mut self) {
        self.state = std::mem::take(&mut self.state).failed();
    }

    pub(super) fn phase(&self, now: Instant) -> Phase {
        self.state.phase(now)
    }

    /// Until when no further move is possible, as far as moves before it are concerned.
    pub(super) fn cooldown(&self, now: Instant) -> Duration {
        match self.modelled {
            Some(_) => Duration::ZERO,
            None => self.state.cooldown_left(now).unwrap_or_default(),
        }
    }
}

impl Modelled {
    fn decide(&mut self, now: Instant, pool: &Pool, settings: &BackendSettings) -> Decision {
        let serving =
            pool.servers.iter().filter(|member| member.stage == Stage::Serving && member.share > 0.0);
        let serving: Vec<Serving> =
            serving.map(|member| Serving { server: member.server, share: member.share }).collect();
        self.load.observe(&serving, now);
        for member in pool.at(Stage::Starting) {
            self.load.set_cold(member.server, now);
        }
        let load = self.load.figures(now);
        let decision = self.model.decide(now, &load, pool, settings);
        for member in &pool.servers {
            self.load.set_slow(member.server, self.model.is_outlier(member.server));
        }
        decision
    }
}
