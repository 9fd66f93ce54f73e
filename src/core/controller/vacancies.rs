//! Why nobody takes the place of a server in service that is DOWN: shown while it is so, and told when it changes.

use std::collections::{BTreeMap, VecDeque};
use std::mem::{Discriminant, discriminant};
use std::time::Instant;

use super::backend::Backend;
use super::replacements::Condition;
use super::{Action, Event, Record, record};
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::BackendState;
use crate::core::plan::step::Purpose;
use crate::core::policy::fleet::Fleet;
use crate::core::policy::replacement::{Unreplaced, Vacancy};

/// Those that nobody stands in for.
#[derive(Debug, Default)]
pub(super) struct Vacancies {
    now: BTreeMap<ServerId, Vacancy>,
    told: BTreeMap<ServerId, Discriminant<Vacancy>>,
}

impl Vacancies {
    /// Why nobody stands in for `server`; `None`: somebody does, or it is not DOWN, or only just.
    pub(super) fn of(&self, server: ServerId) -> Option<Vacancy> {
        self.now.get(&server).copied()
    }

    /// Takes what is so `now`; those of which it was not told before. A move that has to end first is no news, nor is
    /// one that is too early.
    fn note(&mut self, now: BTreeMap<ServerId, Vacancy>) -> Vec<(ServerId, Vacancy)> {
        self.told.retain(|server, _| now.contains_key(server));
        let is_news = |&(server, vacancy): &(ServerId, Vacancy)| {
            !matches!(vacancy, Vacancy::Busy | Vacancy::Early { .. })
                && self.told.insert(server, discriminant(&vacancy)) != Some(discriminant(&vacancy))
        };
        let news = now.iter().map(|(&server, &vacancy)| (server, vacancy)).filter(is_news).collect();
        self.now = now;
        news
    }
}

impl Backend {
    /// Looks, after an evaluation, at who is DOWN and not replaced, and tells what is new of it.
    pub(super) fn look_at_vacancies(
        &mut self,
        id: BackendId,
        state: &BackendState,
        fleet: &Fleet,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) {
        let is_down = |id: &ServerId| {
            state.server(*id).is_some_and(|server| matches!(Condition::of(server), Condition::Down))
        };
        let ids = state.servers.iter().map(|server| server.id).filter(is_down);
        let vacant: Vec<ServerId> = ids.filter(|&id| self.replacements.is_vacant(id)).collect();
        if vacant.is_empty() {
            self.replacements.vacancies = Vacancies::default();
            return;
        }
        let of_all = self.vacancy_of_all(state, fleet, names, now);
        let why = |id: ServerId| Some((id, self.replacements.own_vacancy(id, now).or(of_all)?));
        let vacancies = vacant.into_iter().filter_map(why).collect();
        let news = self.replacements.vacancies.note(vacancies).into_iter();
        let named = news.map(|(server, why)| (names.of_server(server).to_string(), why));
        for unreplaced in Unreplaced::by_reason(named) {
            let event = Event::NotReplaced(unreplaced);
            let next_move = self.next_move(now);
            let serving = fleet.serving;
            actions.push_back(record(Record { backend: id, event, snapshot: None, serving, next_move }));
        }
    }

    /// Why no server that is DOWN is replaced now, whichever it is.
    fn vacancy_of_all(
        &self,
        state: &BackendState,
        fleet: &Fleet,
        names: &Names,
        now: Instant,
    ) -> Option<Vacancy> {
        let will_serve = fleet.serving + self.on_their_way(state).0;
        let moving = self.moving.as_ref();
        match self.settings.ready.max {
            _ if self.read_only => Some(Vacancy::ReadOnly),
            _ if self.is_paused() => Some(Vacancy::Paused),
            _ if self.pin().is_some() => Some(Vacancy::Pinned),
            Some(max) if will_serve >= max => Some(Vacancy::Full { max }),
            _ if self.has_stand_in(state, names, now) => None,
            _ if moving.is_some_and(|it| it.plan.purpose != Purpose::Add || it.sets_weights()) => {
                Some(Vacancy::Busy)
            }
            _ => Some(Vacancy::NoSpare),
        }
    }
}
