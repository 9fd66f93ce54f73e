//! What is known of a backend and its servers, for those who show it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::limits::LimitsView;
use super::moves::Moving;
use super::overrides::Override;
use crate::core::estimate::coverage::Share;
use crate::core::estimate::snapshot::Snapshot;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::{BackendState, ServerState, Unread};
use crate::core::plan::outcome::KeptBy;
use crate::core::plan::ownership::{self, Role};
use crate::core::plan::step::{Purpose, Step};
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::Fleet;
use crate::core::policy::model::Evaluation;
use crate::core::policy::replacement::Vacancy;
use crate::core::settings::schedule::CivilTime;
use crate::core::settings::{BackendSettings, Target, WindowSettings};

/// Whether a backend can be decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Good,
    /// HAProxy did not answer lately.
    HaproxyAbsent,
    /// HAProxy answers, but has no such backend.
    BackendAbsent,
    /// Nothing can be moved: HAProxy's socket is not of `level admin`.
    ReadOnly,
    /// HAProxy counts requests that no line tells of.
    Blind,
    /// HAProxy counts more requests than are understood in the log.
    Uncovered,
    /// The log tells of more requests than HAProxy counts.
    TooManyLines,
}

/// What is known of one backend.
#[derive(Clone, Debug)]
pub struct View {
    /// Its id.
    pub backend: BackendId,
    /// What it is held against.
    pub target: Target,
    /// All its settings, with the limits of the moment.
    pub settings: Arc<BackendSettings>,
    /// The span its figures are taken over.
    pub window: WindowSettings,
    /// The latest decision and what could not be done about it.
    pub decision: Option<(Decision, Option<String>)>,
    /// The estimate now.
    pub snapshot: Snapshot,
    /// What `policy: model` made of its latest figures; `None` where another policy decides.
    pub evaluation: Option<Evaluation>,
    /// What HAProxy has, as the policy sees it.
    pub fleet: Option<Fleet>,
    /// What is under way, if anything.
    pub moving: Option<Purpose>,
    /// The servers it is about.
    pub under_way: Vec<ServerId>,
    /// What is left of the cooldown.
    pub cooldown: Duration,
    /// From when on a move is possible; `None`: not before somebody ends a pause.
    pub next_move: Option<Duration>,
    /// What an operator wants instead of what the policy decides.
    pub overridden: Option<Override>,
    /// What is left of that; `None`: it has no end of its own.
    pub order_left: Option<Duration>,
    /// What the policy would do by itself, where an operator overrules it.
    pub wish: Option<Decision>,
    /// Fewest and most serving servers.
    pub limits: LimitsView,
    /// Whether it can be decided about.
    pub health: Health,
    /// How much of what HAProxy counts the log tells of; `None` while that cannot be said.
    pub coverage: Option<Share>,
    /// Why nothing can be moved at all, or the log cannot be gone by.
    pub doubt: Option<Reason>,
    /// What of it is left out, as it could not be read.
    pub unread: Vec<Unread>,
    /// So many addresses of its pool have no slot.
    pub missing_slots: u32,
    /// Slots that haproxy.cfg gets, and that not every HAProxy has yet.
    pub slots_to_come: Vec<String>,
    /// Its servers as HAProxy has them, and those that could be added to it, each with its own estimate.
    pub servers: Vec<ServerView>,
}

/// What is known of one server.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// As HAProxy has it.
    pub state: ServerState,
    /// Its estimate; `None` if it had no request in the window.
    pub snapshot: Option<Snapshot>,
    /// What the agent may do with it.
    pub role: Role,
    /// Somebody else changed it: it is left alone for so long.
    pub left_alone: Option<Duration>,
    /// It failed to start, and is passed over for so long.
    pub quarantine: Option<Duration>,
    /// It is DOWN, and this one serves in its place, or is about to.
    pub stand_in: Option<ServerId>,
    /// It is DOWN, and nobody takes its place, for this reason.
    pub vacancy: Option<Vacancy>,
    /// What keeps clients on it in DRAIN.
    pub kept: Option<KeptBy>,
    /// What the plan under way is doing about it, and for how long already.
    pub step: Option<(Step, Duration)>,
    /// It is not like the others: its weight, which was to rise, has stood still for so long.
    pub held: Option<Duration>,
    /// Its sessions, which have outlasted its way to MAINT, are closed so long from now.
    pub closes_in: Option<Duration>,
}

impl Backend {
    /// What is known at `now`; `state` is what HAProxy has.
    pub(super) fn view(
        &mut self,
        id: BackendId,
        state: Option<&BackendState>,
        local: Option<CivilTime>,
        names: &Names,
        now: Instant,
    ) -> View {
        let snapshot = self.snapshot(now);
        // An operator's order hides what the policy makes of it.
        let reason = self.latest.as_ref().map(|latest| match (latest.decision.reason(), &self.wish) {
            (Reason::Ordered(_), Some(wish)) => wish.reason(),
            (reason, _) => reason,
        });
        let health = match reason {
            None | Some(Reason::NoInventory) => Health::HaproxyAbsent,
            Some(Reason::UnknownBackend | Reason::DisabledBackend) => Health::BackendAbsent,
            Some(_) if self.read_only => Health::ReadOnly,
            Some(reason) => match (&self.doubt, reason) {
                (Some(Reason::TooManyLines { .. }), _) => Health::TooManyLines,
                (Some(_), _) => Health::Uncovered,
                (None, Reason::Blind { .. } | Reason::BlindQueue { .. }) => Health::Blind,
                (None, _) => Health::Good,
            },
        };
        let supplied = state.map(|state| self.supplied(state, names, now));
        let missing_slots = supplied.as_ref().map_or(0, |supplied| supplied.missing_slots);
        let state = supplied.as_ref().map(|supplied| &supplied.state);
        let slots_to_come = state.map_or(Vec::new(), |state| self.slots_to_come(state, names));
        let roles = state.map(|state| ownership::roles(state, &self.settings, &self.claims, names));
        let servers = roles.into_iter().flatten().map(|(server, role)| ServerView {
            snapshot: self
                .estimator
                .server(server.id, now)
                .map(|snapshot| snapshot.of_sample(self.settings.log.sample_rate)),
            role,
            left_alone: self.hands_off.left(server.id, now),
            stand_in: self.replacements.stand_in(server.id),
            vacancy: self.replacements.vacancies.of(server.id),
            kept: self.moving.as_ref().and_then(|moving| moving.kept(server.id)),
            quarantine: self
                .quarantine
                .left(server.id, now)
                .or_else(|| self.store.quarantine_left(server.id, now)),
            step: self.moving.as_ref().and_then(|moving| moving.step(server.id, now)),
            held: self.newcomers.held(server.id, now),
            closes_in: self.lingering.closes_in(server.id, self.settings.scale_down.shutdown_sessions, now),
            state: server.clone(),
        });
        let servers: Vec<_> = servers.collect();
        View {
            backend: id,
            target: self.settings.target,
            settings: self.settings.clone(),
            window: self.settings.window,
            decision: self.latest.as_ref().map(|latest| (latest.decision.clone(), latest.refused.clone())),
            evaluation: self.mind.evaluation().filter(|_| self.doubt.is_none()).cloned(),
            fleet: self.latest.as_ref().map(|latest| latest.fleet),
            snapshot,
            moving: self.moving.as_ref().map(|moving| moving.plan.purpose),
            under_way: self.moving.iter().flat_map(Moving::under_way).collect(),
            cooldown: self.cooldown(now),
            next_move: self.next_move(now),
            order_left: self.overridden.as_ref().and_then(|wanted| wanted.left(now)),
            overridden: self.overridden.clone(),
            wish: self.wish.clone(),
            limits: self.limits_view(local),
            health,
            coverage: self.coverage.found(),
            doubt: self.read_only.then_some(Reason::ReadOnly).or_else(|| self.doubt.clone()),
            unread: Vec::new(),
            missing_slots,
            slots_to_come,
            servers,
        }
    }
}
