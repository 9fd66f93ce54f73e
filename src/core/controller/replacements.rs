//! A server in service that its health check calls DOWN is replaced by a spare, once each time it goes DOWN.
//!
//! ```text
//!                  DOWN in some readings          ordered                    UP again
//!  in service, UP ----------------------> vacant ---------> filled by a spare --------> both serve: the policy takes
//!  not seen UP    ----------------------^   |                                           away what is too much
//!                  DOWN for `GRACE`         '-- fewer are wanted anyway: nothing is done
//! ```
//! Whatever is started meanwhile fills a place, for whatever reason it was started: the load may have asked first.
//! Absent on purpose: a stand-in is not replaced, and while one is DOWN nobody is, for then it is not the servers
//! that are ill; and one that was DOWN not long ago is not, later each time.
//!
//! Places stay filled over restarts of HAProxy, and of the agent: else each would start one more spare.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::back_off::{self, BackOff};
use super::backend::Backend;
use super::vacancies::Vacancies;
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::{AdminState, BackendState, OperationalState, ServerState};
use crate::core::plan::step::Purpose;
use crate::core::plan::{ownership, planner};
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::Fleet;
use crate::core::policy::replacement::{Replacement, Vacancy};
use crate::core::units::Weight;

/// DOWN in so many readings in a row is no flap. HAProxy's `fall` has filtered before us.
const FLAP: u32 = 2;

/// One that was not seen UP is missed when it has been DOWN for so long: by then the first checks after a start of
/// HAProxy are over. A stand-in that has been out of service for so long stands in for nobody.
const GRACE: Duration = Duration::from_secs(30);

/// So long after spares were tried in vain, they are tried again.
const TRY_AGAIN: Duration = Duration::from_secs(3600);

/// Which servers in service are DOWN, and who stands in for them.
#[derive(Debug, Default)]
pub(super) struct Replacements {
    /// When HAProxy was asked for the reading that was seen last.
    seen: Option<Instant>,
    /// In service, and UP, by a check where they have one.
    up: BTreeSet<ServerId>,
    down: BTreeMap<ServerId, Down>,
    /// So many are in service at most, UP or DOWN, since the first of those that are DOWN now is,
    served: usize,
    /// and so many spares were tried since then, of which none is UP;
    tried: usize,
    /// the last of them at this time.
    tried_at: Option<Instant>,
    /// Stand-ins whose servers serve again: until then they may stand in for others.
    free: BTreeMap<ServerId, Instant>,
    back_off: BackOff,
    pub(super) vacancies: Vacancies,
}

#[derive(Clone, Copy, Debug)]
struct Down {
    since: Instant,
    /// In so many readings in a row.
    readings: u32,
    /// It was seen UP before.
    was_up: bool,
    place: Place,
    /// Who fills its place has been out of service since then.
    unfilled: Option<Instant>,
    /// It has stood in for another one.
    is_stand_in: bool,
}

/// What became of a server's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Vacant,
    Filled(ServerId),
    /// Fewer servers were wanted anyway.
    Dropped,
}

impl Replacements {
    /// HAProxy was restarted: until a check says so, nobody is known to be UP.
    pub(super) fn restart(&mut self) {
        self.up.clear();
    }

    /// Who stands in for whom, and for whom nobody has to.
    pub(super) fn memory(&self, names: &Names) -> BTreeMap<String, Option<String>> {
        let name = |id: ServerId| names.of_server(id).to_string();
        let kept = self.down.iter().filter_map(|(&server, down)| match down.place {
            Place::Vacant => None,
            Place::Filled(stand_in) => Some((name(server), Some(name(stand_in)))),
            Place::Dropped => Some((name(server), None)),
        });
        kept.collect()
    }

    /// What another agent has left.
    pub(super) fn recall(
        &mut self,
        replaced: &BTreeMap<String, Option<String>>,
        id: BackendId,
        names: &Names,
        now: Instant,
    ) {
        let recalled = replaced.iter().filter_map(|(server, stand_in)| {
            let place = match stand_in {
                Some(stand_in) => Place::Filled(names.server(id, stand_in)?),
                None => Place::Dropped,
            };
            let down = Down { place, ..Down::new(now, false, false) };
            Some((names.server(id, server)?, down))
        });
        self.down = recalled.collect();
    }

    /// Looks at what was `asked` for. `is_starting`: a plan is about to make this server serve; `is_slot`: this one is
    /// a slot without an address, and nobody's loss.
    fn note(
        &mut self,
        state: &BackendState,
        asked: Instant,
        is_starting: impl Fn(ServerId) -> bool,
        is_slot: impl Fn(&ServerState) -> bool,
        now: Instant,
    ) {
        let before = self.seen.replace(asked);
        if before == Some(asked) {
            return;
        }
        let was_well = self.down.is_empty() || before.is_none();
        let mut in_service = 0;
        for server in &state.servers {
            let condition = Condition::of(server);
            in_service += usize::from(!matches!(condition, Condition::Out));
            match condition {
                Condition::Up => self.note_up(server.id, now),
                Condition::Down if self.is_known(server.id) || !is_slot(server) && is_lost(server) => {
                    self.note_down(server.id, now);
                }
                Condition::Down | Condition::Unknown => {
                    self.down.entry(server.id).and_modify(|down| down.readings = 0);
                }
                Condition::Out => {
                    self.up.remove(&server.id);
                    self.down.remove(&server.id);
                }
            }
        }
        let is_there = |id: &ServerId| state.server(*id).is_some();
        self.up.retain(is_there);
        self.down.retain(|id, _| is_there(id));
        self.free.retain(|&id, until| {
            let serves = state.server(id).is_some_and(ServerState::is_serving);
            *until > now && (serves || is_starting(id))
        });
        self.served = if was_well { in_service } else { self.served.max(in_service) };
        let is_proven =
            |down: &Down| matches!(down.place, Place::Filled(server) if self.up.contains(&server));
        let is_over = self.tried_at.is_none_or(|at| now >= at + TRY_AGAIN);
        if was_well || is_over || self.down.values().any(is_proven) {
            self.tried = 0;
        }
        self.look_for_stand_ins(state, is_starting, now);
        self.fill_with_free();
    }

    /// Empties the places of those whose stand-ins are in service no more.
    fn look_for_stand_ins(
        &mut self,
        state: &BackendState,
        is_starting: impl Fn(ServerId) -> bool,
        now: Instant,
    ) {
        let is_out = |id| state.server(id).is_none_or(|it| matches!(Condition::of(it), Condition::Out));
        for down in self.down.values_mut() {
            let Place::Filled(server) = down.place else { continue };
            if !is_out(server) || is_starting(server) {
                down.unfilled = None;
            } else if now >= *down.unfilled.get_or_insert(now) + GRACE {
                (down.place, down.unfilled) = (Place::Vacant, None);
            }
        }
    }

    /// It was seen UP, or lost, before.
    fn is_known(&self, server: ServerId) -> bool {
        self.up.contains(&server) || self.down.contains_key(&server)
    }

    fn note_up(&mut self, server: ServerId, now: Instant) {
        self.up.insert(server);
        if let Some(Down { place: Place::Filled(stand_in), .. }) = self.down.remove(&server) {
            self.back_off.begin(server, now);
            self.free.insert(stand_in, now + back_off::FIRST);
        }
    }

    fn note_down(&mut self, server: ServerId, now: Instant) {
        let was_up = self.up.remove(&server);
        if let Some(down) = self.down.get_mut(&server) {
            down.readings = down.readings.saturating_add(1);
            return;
        }
        let fills = |down: &Down| down.place == Place::Filled(server);
        let is_stand_in = self.free.remove(&server).is_some() || self.down.values().any(fills);
        self.down.insert(server, Down { readings: 1, ..Down::new(now, was_up, is_stand_in) });
    }

    fn fill_with_free(&mut self) {
        for down in self.down.values_mut().filter(|down| down.is_vacant()) {
            let Some((stand_in, _)) = self.free.pop_first() else { return };
            down.place = Place::Filled(stand_in);
        }
    }

    /// Those whose places are to be filled, as many as may be.
    fn vacant(&self, now: Instant) -> Vec<ServerId> {
        let left = self.served.saturating_sub(self.tried);
        let is_due = |id: &ServerId| self.is_vacant(*id) && self.own_vacancy(*id, now).is_none();
        self.down.keys().copied().filter(is_due).take(left).collect()
    }

    /// `server`, which is DOWN, has not been for a moment only, and nobody stands in for it.
    pub(super) fn is_vacant(&self, server: ServerId) -> bool {
        let is_vacant = |down: &Down| down.readings >= FLAP && !matches!(down.place, Place::Filled(_));
        self.down.get(&server).is_some_and(is_vacant)
    }

    /// Who stands in for `server`.
    pub(super) fn stand_in(&self, server: ServerId) -> Option<ServerId> {
        match self.down.get(&server)?.place {
            Place::Filled(stand_in) => Some(stand_in),
            Place::Vacant | Place::Dropped => None,
        }
    }

    /// Why nobody is to take the place of `server`, which is DOWN, whoever might.
    pub(super) fn own_vacancy(&self, server: ServerId, now: Instant) -> Option<Vacancy> {
        let down = self.down.get(&server)?;
        let Self { served, tried, .. } = *self;
        let early = (down.since + GRACE).saturating_duration_since(now);
        match self.back_off.left(server, now) {
            _ if down.is_stand_in => Some(Vacancy::StandIn),
            _ if down.place == Place::Dropped => Some(Vacancy::NotNeeded),
            _ if self.down.values().any(|other| other.is_stand_in) => Some(Vacancy::StandInsDown),
            _ if !down.was_up && !early.is_zero() => Some(Vacancy::Early { left: early }),
            Some(left) => Some(Vacancy::Again { left }),
            None if tried >= served => Some(Vacancy::Spent { served, tried }),
            None => None,
        }
    }

    /// These are about to serve; those that stand in for somebody already, again.
    pub(super) fn ordered(&mut self, servers: impl Iterator<Item = ServerId>, now: Instant) {
        let filling: BTreeSet<ServerId> = self.down.keys().filter_map(|&id| self.stand_in(id)).collect();
        let vacant = self.down.values_mut().filter(|down| down.is_vacant());
        for (down, server) in vacant.zip(servers.filter(|server| !filling.contains(server))) {
            down.place = Place::Filled(server);
            self.tried += 1;
            self.tried_at = Some(now);
        }
    }

    /// It does not serve after all.
    pub(super) fn failed(&mut self, server: ServerId) {
        for down in self.down.values_mut().filter(|down| down.place == Place::Filled(server)) {
            down.place = Place::Vacant;
        }
        self.free.remove(&server);
    }

    /// It was taken away, as there were enough without it.
    pub(super) fn taken_away(&mut self, server: ServerId) {
        let mut filled = self.down.values_mut().filter(|down| down.place == Place::Filled(server));
        if let Some(down) = filled.next() {
            down.place = Place::Dropped;
        } else if self.free.remove(&server).is_none() {
            self.free.pop_first();
        }
    }

    fn drop_vacant(&mut self) {
        for down in self.down.values_mut().filter(|down| down.is_vacant()) {
            down.place = Place::Dropped;
        }
    }
}

impl Down {
    fn new(since: Instant, was_up: bool, is_stand_in: bool) -> Self {
        Self { since, readings: 0, was_up, place: Place::Vacant, unfilled: None, is_stand_in }
    }

    fn is_vacant(&self) -> bool {
        self.place == Place::Vacant && !self.is_stand_in
    }
}

/// Of one server, at one reading.
pub(super) enum Condition {
    Up,
    Down,
    /// In service, and no check has said anything yet.
    Unknown,
    /// Not in service.
    Out,
}

impl Condition {
    pub(super) fn of(server: &ServerState) -> Self {
        let is_in_service = server.state() == AdminState::Ready && server.weight > Weight::ZERO;
        match server.operational {
            _ if !is_in_service || server.backup || !server.alike => Self::Out,
            OperationalState::Stopped => Self::Down,
            _ if server.check_passed || !server.checked => Self::Up,
            _ => Self::Unknown,
        }
    }
}

/// A server that is DOWN, and not only until its checks have passed for the first time (`init-state`, HAProxy 3.1).
fn is_lost(server: &ServerState) -> bool {
    server.check_failed || !server.checked || server.has_agent()
}

impl Backend {
    /// `decision`, or, where that does not add servers, to replace those that are DOWN. It neither waits for a cooldown
    /// nor begins one: it answers no demand.
    pub(super) fn with_replacements(
        &mut self,
        decision: Decision,
        asked: Instant,
        state: &BackendState,
        fleet: &Fleet,
        names: &Names,
        now: Instant,
    ) -> Decision {
        let starting = self.being_started();
        let is_slot = |server: &ServerState| ownership::is_empty_slot(server, &self.settings);
        self.replacements.note(state, asked, |id| starting.contains(&id), is_slot, now);
        match decision {
            Decision::Hold(_) | Decision::Reweigh { .. } => {}
            Decision::ScaleDown { .. } if self.overridden.is_none() => {
                self.replacements.drop_vacant();
                return decision;
            }
            Decision::ScaleUp { .. } | Decision::ScaleDown { .. } => return decision,
        }
        let vacant = self.replacements.vacant(now);
        let max = self.settings.ready.max.unwrap_or(u32::MAX);
        let room = max.saturating_sub(fleet.serving + self.on_their_way(state).0);
        let stand_ins = self.stand_ins(vacant.len().min(room as usize), &starting, state, names, now);
        let Some(by) = u32::try_from(stand_ins.len()).ok().filter(|by| *by > 0) else { return decision };
        let name = |id: &ServerId| names.of_server(*id).to_string();
        let reason = Reason::Down(Replacement {
            servers: vacant.iter().take(stand_ins.len()).map(name).collect(),
            stand_ins: stand_ins.iter().map(name).collect(),
        });
        Decision::ScaleUp { by, reason }
    }

    /// Those that the plan under way is about to make serve.
    fn being_started(&self) -> BTreeSet<ServerId> {
        let moving = self.moving.as_ref().filter(|moving| moving.plan.purpose == Purpose::Add);
        moving.iter().flat_map(|moving| moving.under_way()).collect()
    }

    /// Whether there is one that could stand in for a server that is DOWN.
    pub(super) fn has_stand_in(&self, state: &BackendState, names: &Names, now: Instant) -> bool {
        !self.stand_ins(1, &self.being_started(), state, names, now).is_empty()
    }

    /// At most so many that can be made to serve now, beside those that are `starting`; those first that are being
    /// taken away.
    fn stand_ins(
        &self,
        most: usize,
        starting: &BTreeSet<ServerId>,
        state: &BackendState,
        names: &Names,
        now: Instant,
    ) -> Vec<ServerId> {
        match &self.moving {
            Some(moving) if moving.plan.purpose == Purpose::Remove => {
                moving.under_way().rev().take(most).collect()
            }
            Some(moving) if moving.plan.purpose != Purpose::Add || moving.sets_weights() => Vec::new(),
            _ => {
                let quarantined = self.quarantine.all(now);
                let next = planner::startable(state, &self.settings, &self.claims, &quarantined, names);
                next.into_iter().filter(|server| !starting.contains(server)).take(most).collect()
            }
        }
    }
}
