//! A server in service that its health check calls DOWN is replaced by a spare, once each time it goes DOWN.
//!
//! ```text
//!                  DOWN in some readings          ordered                    UP again
//!  in service, UP ----------------------> vacant ---------> filled by a spare --------> both serve: the policy takes
//!                                           |                                           away what is too much
//!                                           '-- fewer are wanted anyway: nothing is done
//! ```
//! Whatever is started meanwhile fills a place, for whatever reason it was started: the load may have asked first.
//! Absent on purpose: a stand-in is not replaced, and while one is DOWN nobody is, for then it is not the servers
//! that are ill; one that was DOWN not long ago is not, later each time; and one that has never been seen UP.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::back_off::{self, BackOff};
use super::backend::Backend;
use super::vacancies::Vacancies;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::{AdminState, BackendState, OperationalState, ServerState};
use crate::core::plan::planner;
use crate::core::plan::step::Purpose;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::fleet::Fleet;
use crate::core::policy::replacement::{Replacement, Vacancy};
use crate::core::units::Weight;

/// DOWN in so many readings in a row is no flap. HAProxy's `fall` has filtered before us.
const FLAP: u32 = 2;

/// Which servers in service are DOWN, and who stands in for them.
#[derive(Debug, Default)]
pub(super) struct Replacements {
    /// When HAProxy was asked for the reading that was seen last.
    seen: Option<Instant>,
    /// In service, and UP, by a check where they have one.
    up: BTreeSet<ServerId>,
    down: BTreeMap<ServerId, Down>,
    /// So many served before the first of those that are DOWN now,
    served: usize,
    /// and so many spares were tried since.
    tried: usize,
    /// Stand-ins whose servers serve again: until then they may stand in for others.
    free: BTreeMap<ServerId, Instant>,
    back_off: BackOff,
    pub(super) vacancies: Vacancies,
}

#[derive(Clone, Copy, Debug)]
struct Down {
    /// In so many readings.
    readings: u32,
    place: Place,
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
        let (back_off, vacancies) = (std::mem::take(&mut self.back_off), std::mem::take(&mut self.vacancies));
        *self = Self { back_off, vacancies, ..Self::default() };
    }

    /// Looks at what was `asked` for. `is_starting`: a plan is about to make this server serve.
    fn note(
        &mut self,
        state: &BackendState,
        asked: Instant,
        is_starting: impl Fn(ServerId) -> bool,
        now: Instant,
    ) {
        if self.seen.replace(asked) == Some(asked) {
            return;
        }
        let was_well = self.down.is_empty();
        let served = self.up.len();
        for server in &state.servers {
            match Condition::of(server) {
                Condition::Up => self.note_up(server.id, now),
                Condition::Down => self.note_down(server.id),
                Condition::Unknown => {}
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
        if was_well {
            (self.served, self.tried) = (served, 0);
        }
        self.fill_with_free();
    }

    fn note_up(&mut self, server: ServerId, now: Instant) {
        self.up.insert(server);
        if let Some(Down { place: Place::Filled(stand_in), .. }) = self.down.remove(&server) {
            self.back_off.begin(server, now);
            self.free.insert(stand_in, now + back_off::FIRST);
        }
    }

    fn note_down(&mut self, server: ServerId) {
        if let Some(down) = self.down.get_mut(&server) {
            down.readings = down.readings.saturating_add(1);
        } else if self.up.remove(&server) {
            let fills = |down: &Down| down.place == Place::Filled(server);
            let is_stand_in = self.free.remove(&server).is_some() || self.down.values().any(fills);
            self.down.insert(server, Down { readings: 1, place: Place::Vacant, is_stand_in });
        }
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
        self.down.get(&server).is_none_or(is_vacant)
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
        let Some(down) = self.down.get(&server) else { return Some(Vacancy::NeverUp) };
        let Self { served, tried, .. } = *self;
        match self.back_off.left(server, now) {
            _ if down.is_stand_in => Some(Vacancy::StandIn),
            _ if down.place == Place::Dropped => Some(Vacancy::NotNeeded),
            _ if self.down.values().any(|other| other.is_stand_in) => Some(Vacancy::StandInsDown),
            Some(left) => Some(Vacancy::Again { left }),
            None if tried >= served => Some(Vacancy::Spent { served, tried }),
            None => None,
        }
    }

    /// These are about to serve.
    pub(super) fn ordered(&mut self, servers: impl Iterator<Item = ServerId>) {
        let vacant = self.down.values_mut().filter(|down| down.is_vacant());
        for (down, server) in vacant.zip(servers) {
            down.place = Place::Filled(server);
            self.tried += 1;
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
        if self.free.remove(&server).is_none() {
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
        self.replacements.note(state, asked, |id| starting.contains(&id), now);
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
