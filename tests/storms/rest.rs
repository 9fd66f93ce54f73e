//! The calm after a storm: whether there is rest, and whether all is as it should be then.

use haproxy_autoscale::core::controller::View;
use haproxy_autoscale::core::plan::inventory::AdminState;
use haproxy_autoscale::core::settings::spares::Spares;
use haproxy_autoscale::core::settings::{BackendSettings, Policy, Weights};

use super::fleet::Fleet;
use super::haproxy::{Backend, Haproxy, NOWHERE, Server};
use super::play::{Played, World};
use super::site::is_pooled;

/// So long without a move is rest.
const REST: u32 = 90;
/// It has to come within so many seconds.
const WITHIN: u32 = 900;
/// By then an operator looks at what is not alike.
const LOOKS_AT: u32 = 150;

/// All is as it should be, or what is not.
type Right = Result<(), String>;

impl World {
    /// The noise stops: after a while nothing moves any more, and all is as it should be.
    pub(crate) async fn calm_down(&mut self) -> Played {
        self.heal();
        while self.agent.is_none() || !self.fleet.lock().all_answer() {
            self.second().await?;
        }
        self.resume_all()?;
        self.quiet = 0;
        for second in 0..WITHIN {
            self.second().await?;
            let time = second / LOOKS_AT;
            if second % LOOKS_AT == 0 && (1..4).contains(&time) && self.put_right_by_hand(time) {
                self.resume_all()?;
            }
            if second > LOOKS_AT && self.quiet >= REST && self.check_rest().is_ok() {
                return Ok(());
            }
        }
        self.check_rest().map_err(|why| self.fail(&why))?;
        Err(self.fail(&format!("no rest within {WITHIN} s")))
    }

    fn resume_all(&mut self) -> Played {
        (0..self.settings.len()).try_for_each(|backend| self.resume(backend))
    }

    /// What `status` tells of nodes that are not alike: those that have refused something are reloaded, then what is
    /// otherwise than on the first is made so by hand, and what is not there by another reload. True if there was any.
    fn put_right_by_hand(&mut self, time: u32) -> bool {
        let fleet = &mut *self.fleet.lock();
        let nodes = fleet.nodes.len();
        if time == 1 {
            let refused =
                |fleet: &mut Fleet, n: usize| nodes > 1 && std::mem::take(&mut fleet.nodes[n].has_refused);
            return (0..nodes).filter(|&n| refused(fleet, n) && fleet.reload_by_hand(n)).count() > 0;
        }
        if time == 3 {
            let first = Stand::all_of(&fleet.nodes[0].haproxy);
            let is_unlike = |fleet: &Fleet, n: usize| Stand::all_of(&fleet.nodes[n].haproxy) != first;
            return (1..nodes).filter(|&n| is_unlike(fleet, n) && fleet.reload_by_hand(n)).count() > 0;
        }
        let mut any = false;
        for n in 1..nodes {
            for (key, state, weight) in fleet.unlike(n) {
                any = true;
                fleet.tell(|| format!("EVENT {key:?} as on node 0"));
                fleet.operate(n, &key, |server| {
                    server.set_state(state);
                    server.weight = weight;
                });
            }
        }
        any
    }

    fn check_rest(&mut self) -> Right {
        for n in 0..self.settings.len() {
            let settings = self.settings[n].clone();
            let id = self.names.backend(&settings.name).expect("a name");
            let view = self.agent.as_mut().and_then(|agent| agent.controller.view(id, Fleet::now()));
            let view = view.expect("it is configured");
            self.check_view(&view)?;
            let nodes: Vec<Backend> = {
                let fleet = self.fleet.lock();
                fleet.nodes.iter().filter_map(|node| node.haproxy.backend(&settings.name).cloned()).collect()
            };
            self.check_alike(&nodes)?;
            for backend in &nodes {
                self.check_serving(backend, &settings, &view)?;
                self.check_places(backend, &settings, n)?;
                self.check_weights(backend, &settings)?;
            }
        }
        Ok(())
    }

    fn check_view(&self, view: &View) -> Right {
        match view.servers.iter().find(|server| server.left_alone.is_some()) {
            Some(server) => Err(format!("{} is left alone", self.names.of_server(server.state.id))),
            None => Ok(()),
        }
    }

    fn check_alike(&self, nodes: &[Backend]) -> Right {
        let first = Stand::all_in(&nodes[0]);
        match nodes.iter().find(|node| Stand::all_in(node) != first) {
            Some(node) => Err(format!("{} is not alike", node.name)),
            None => Ok(()),
        }
    }

    fn check_serving(&self, backend: &Backend, settings: &BackendSettings, view: &View) -> Right {
        let fleet = view.fleet.as_ref().expect("it has been looked at");
        let (name, ready, serving) = (&backend.name, settings.ready, backend.serving() as u32);
        if serving < ready.min && fleet.startable > 0 {
            return Err(format!("{serving} serve in {name}, {} could, {ready:?}", fleet.startable));
        }
        let by_themselves =
            backend.servers.iter().filter(|server| server.serves() && server.tracks.is_none());
        let may_go = by_themselves.count() as u32 > ready.min;
        if ready.max.is_some_and(|max| serving > max) && fleet.removable > 0 && may_go {
            return Err(format!("{serving} serve in {name}, {} could go, {ready:?}", fleet.removable));
        }
        Ok(())
    }

    /// What comes from the pool is where it should be, and nowhere else.
    fn check_places(&self, backend: &Backend, settings: &BackendSettings, n: usize) -> Right {
        let pool = self.pool(n);
        let is_slot = |server: &&Server| {
            settings.spares == Spares::Slots { placeholder: None, grow: None } && is_pooled(server.address)
        };
        let may_go = |server: &Server| !server.serves() || backend.serving() as u32 > settings.ready.min;
        for server in &backend.servers {
            let name = format!("{}/{}", backend.name, server.name);
            let same = |other: &&Server| other.name != server.name && other.address == server.address;
            if server.address != NOWHERE.into()
                && let Some(other) = backend.servers.iter().find(same)
            {
                return Err(format!("{name} and {} are at the same address", other.name));
            }
            // What an operator drains stays so until he is done with it.
            let is_in_use = match server.state() {
                AdminState::Ready => server.weight > 0,
                AdminState::Drain => self.is_half_drained(backend, server),
                AdminState::Maint => false,
            };
            if server.added && server.state() == AdminState::Maint {
                return Err(format!("{name} was added, and waits"));
            }
            let is_from_pool = server.added || is_slot(&server);
            if is_from_pool && is_in_use && !pool.contains(&server.address) && may_go(server) {
                return Err(format!("{name} has an address that was given up"));
            }
        }
        let is_short = (backend.serving() as u32) < settings.ready.min;
        let is_free = |server: &&Server| server.disabled && server.address == NOWHERE.into();
        let has_place = match settings.spares {
            Spares::Declared => false,
            Spares::Slots { .. } => backend.servers.iter().any(|server| is_free(&server)),
            Spares::Dynamic => !self.site.version.starts_with("2.2"),
        };
        let is_there = |address| backend.servers.iter().any(|server| server.address == address);
        let unused = pool.into_iter().find(|&address| !is_there(address));
        match unused.filter(|_| is_short && has_place) {
            Some(address) => Err(format!("{} is short of servers, and {address} is free", backend.name)),
            None => Ok(()),
        }
    }

    fn is_half_drained(&self, backend: &Backend, server: &Server) -> bool {
        self.fleet.lock().book.is_half_drained(&(backend.name.clone(), server.name.clone()))
    }

    fn check_weights(&self, backend: &Backend, settings: &BackendSettings) -> Right {
        let fleet = self.fleet.lock();
        let book = &fleet.book;
        let may_share = settings.policy == Policy::Model || settings.weights == Weights::ByLatency;
        // Whoever sets a weight among shares sets it among multiplied ones, which stay so for the sake of the ratio; and so
        // does a node that refuses one of them.
        let are_mixed = book.somebody_weighs || book.one_has_refused;
        if may_share && (are_mixed || self.are_shares_in_force(&settings.name)) {
            return Ok(());
        }
        for server in &backend.servers {
            let key = (backend.name.clone(), server.name.clone());
            let is_drain = server.state() == AdminState::Drain;
            // What he gives on one node while it is another on its way there, nobody can put right but him.
            let is_his = book.weighed_alone.contains(&key);
            // One node may have kept what another has not, and an agent that was killed has not seen it: it is told, and left alone.
            let may_be_his =
                (self.site.nodes > 1 || book.has_lost_an_agent) && book.kept_from_a_ramp.contains(&key);
            let is_rightful = book.rightful[&key].contains(&server.weight) || is_his || may_be_his;
            let broken = if is_drain && book.is_half_drained(&key) && server.weight > 0 {
                "half drained"
            } else if !is_rightful && settings.weights != Weights::ByCapacity {
                "of another weight than it should be"
            } else {
                continue;
            };
            drop(fleet);
            return Err(format!("{}/{} is {broken}", key.0, key.1));
        }
        drop(fleet);
        if settings.weights == Weights::ByCapacity {
            self.check_proportions(backend, settings)
        } else {
            Ok(())
        }
    }

    /// Weights are less for a while: of servers that were slow once, and are parked since. They are remembered.
    fn are_shares_in_force(&self, backend: &str) -> bool {
        let memory = self.agent.as_ref().map(|agent| agent.controller.memory(Fleet::now()));
        let mut all = memory.into_iter().flat_map(|memory| memory.backends);
        all.any(|memory| memory.name == backend && !memory.weights.is_empty())
    }

    fn check_proportions(&self, backend: &Backend, settings: &BackendSettings) -> Right {
        let weighed = backend.servers.iter().filter(|server| !server.backup && server.weight > 0);
        let per_capacity: Vec<f64> = weighed
            .map(|server| {
                let named = settings.servers.get(&server.name);
                f64::from(server.weight) / named.map_or(1.0, |named| named.capacity)
            })
            .collect();
        let is_alike = per_capacity.iter().all(|each| (each - per_capacity[0]).abs() < 1e-6);
        if is_alike { Ok(()) } else { Err(format!("weights by capacity: {per_capacity:?}")) }
    }
}

/// What is to be the same everywhere.
#[derive(Debug, PartialEq)]
struct Stand {
    name: String,
    state: AdminState,
    weight: u16,
    address: Option<std::net::SocketAddr>,
}

impl Stand {
    fn all_of(haproxy: &Haproxy) -> Vec<Vec<Self>> {
        haproxy.backends.iter().map(Self::all_in).collect()
    }

    fn all_in(backend: &Backend) -> Vec<Self> {
        let mut all: Vec<_> = backend.servers.iter().map(Self::of).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// A slot that is not in use may be anywhere.
    fn of(server: &Server) -> Self {
        let is_used = server.state() != AdminState::Maint;
        Self {
            name: server.name.clone(),
            state: server.state(),
            weight: server.weight,
            address: is_used.then_some(server.address),
        }
    }
}
