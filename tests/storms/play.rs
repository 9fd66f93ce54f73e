//! A storm over a site, a quarter of a second after the other, and the calm after it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use haproxy_autoscale::core::controller::{Action, Memory, Operator, Order, Override};
use haproxy_autoscale::core::log::sample::{Class, Sample, Timers};
use haproxy_autoscale::core::names::{Names, ServerId};
use haproxy_autoscale::core::plan::outcome::Outcome;
use haproxy_autoscale::core::plan::step::Lane;
use haproxy_autoscale::core::settings::BackendSettings;
use haproxy_autoscale::state_file;
use proptest::test_runner::TestCaseError;
use tokio::time::{Instant as Moment, sleep_until};

use super::agent::{Agent, Look};
use super::book::{Book, Key, Rules};
use super::dice::Dice;
use super::fleet::{Away, Fleet};
use super::haproxy::{Haproxy, NOWHERE, Server};
use super::site::{self, Site};
use super::socket::Shared;
use super::storm::{Event, Spot, Storm};

const QUARTER: Duration = Duration::from_millis(250);
/// Requests a second, for each backend.
const REQUESTS: u32 = 8;
/// While the agent stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);

pub(crate) type Played<T = ()> = Result<T, TestCaseError>;

pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) names: Names,
    pub(crate) settings: Vec<BackendSettings>,
    /// `None` while it is down.
    pub(crate) agent: Option<Agent>,
    down_for: u32,
    pub(crate) fleet: Shared,
    dice: Dice,
    start: Instant,
    quarter: u32,
    state_file: Vec<u8>,
    pub(crate) load: f64,
    pub(crate) slow: HashSet<SocketAddr>,
    /// What each pool has, and whether it can be read.
    pools: Vec<(u8, bool)>,
    /// By how much each server is behind with its share of the requests.
    behind: HashMap<(usize, Key), f64>,
    /// Since the last command.
    pub(crate) quiet: u32,
    commands: u64,
}

impl World {
    pub(crate) fn new(site: &Site) -> Self {
        let names = Names::default();
        let start = Fleet::now();
        let settings: Vec<BackendSettings> = site.backends.iter().map(|part| part.settings.clone()).collect();
        let haproxy = Haproxy::new(site.version, site.configured(), 100);
        let mut rules = Rules::new();
        for (n, (part, settings)) in site.backends.iter().zip(&settings).enumerate() {
            let name = || settings.name.clone();
            rules.set_min(&settings.name, settings.ready.min as usize, start);
            rules.hands_off.insert(name(), settings.hands_off);
            rules.named.extend(settings.servers.keys().map(|server| (name(), server.clone())));
            let offered = site::offer(n, part.pool, part.keywords).candidates;
            rules.offered.extend(offered.iter().map(|candidate| (name(), candidate.address)));
        }
        let book = Book::new(&names, rules, &haproxy);
        let haproxys = (0..site.nodes as u32).map(|n| Haproxy { pid: 100 * (n + 1), ..haproxy.clone() });
        let fleet = Shared::new(Fleet::new(haproxys.collect(), book, Dice::new(site.seed), start));
        let agent = Agent::start(&fleet, &names, settings.clone(), &Memory::default(), start);
        Self {
            site: site.clone(),
            names,
            settings,
            agent: Some(agent),
            down_for: 0,
            fleet,
            dice: Dice::new(site.seed ^ 77),
            start,
            quarter: 0,
            state_file: state_file::render(&Memory::default(), SystemTime::UNIX_EPOCH),
            load: 2.0,
            slow: HashSet::new(),
            pools: site.backends.iter().map(|part| (part.pool, true)).collect(),
            behind: HashMap::new(),
            quiet: 0,
            commands: 0,
        }
    }

    pub(crate) async fn play(&mut self, storm: &Storm) -> Played {
        for &(after, event) in storm {
            for _ in 0..after {
                self.second().await?;
            }
            self.fleet.lock().tell(|| format!("EVENT {event:?}"));
            self.happen(event).await?;
        }
        self.second().await
    }

    pub(crate) fn fail(&self, why: &str) -> TestCaseError {
        let mut fleet = self.fleet.lock();
        let mut text = format!("at {} s: {why}\n", self.quarter / 4);
        for (n, node) in fleet.nodes.iter().enumerate() {
            for backend in &node.haproxy.backends {
                for server in &backend.servers {
                    let (of, state, op) = (&backend.name, server.state().name(), server.operational);
                    let Server { name, address, weight, added, .. } = server;
                    let added = if *added { " added" } else { "" };
                    text += &format!("{n} {of}/{name} {address} {state} {op} weight {weight}{added}\n");
                }
            }
        }
        let log = fleet.log.take().unwrap_or_default().join("\n");
        let nodes = self.agent.as_ref().map(Agent::nodes).unwrap_or_default();
        TestCaseError::fail(format!("{text}{nodes}\n{log}"))
    }

    pub(crate) fn backend(&self, backend: usize) -> usize {
        backend % self.settings.len()
    }

    pub(crate) async fn happen(&mut self, event: Event) -> Played {
        let nodes = self.site.nodes;
        let which = |node: Option<usize>| node.map_or(0..nodes, |node| node % nodes..node % nodes + 1);
        let addresses = self.site.addresses();
        match event {
            Event::Load(load) => self.load = load,
            Event::State(spot, state) => {
                self.operate(spot, |server| {
                    // Whoever takes a slot into service gives it an address.
                    if server.address != SocketAddr::from(NOWHERE) {
                        server.set_state(state);
                    }
                });
            }
            Event::Weight(spot, weight) => {
                let server = self.operate(spot, |server| server.weight = weight);
                if spot.node.is_some() && nodes > 1 {
                    self.fleet.lock().book.weighed_alone.extend(server);
                }
            }
            Event::Order(backend, order, lasts) => self.order(backend, order, lasts),
            Event::Resume(backend) => {
                let backend = self.backend(backend);
                self.resume(backend)?;
            }
            Event::Reload(node, keeps) => which(node).for_each(|n| self.fleet.lock().reload(n, keeps)),
            Event::Crash(node, lasts) => which(node).for_each(|n| self.fleet.lock().crash(n, lasts)),
            Event::Unreachable(node, lasts) => self.away(node % nodes, Away::Unreachable(lasts)),
            Event::Hang(node, lasts) => self.away(node % nodes, Away::Hangs(lasts)),
            Event::Refuse(node, times) => self.fleet.lock().nodes[node % nodes].refuses = times,
            Event::Lose(node, times) => self.fleet.lock().nodes[node % nodes].loses = times,
            Event::Die(at) => {
                self.fleet.lock().dead.insert(addresses[at % addresses.len()]);
            }
            Event::Revive(at) => {
                self.fleet.lock().dead.remove(&addresses[at % addresses.len()]);
            }
            Event::Slow(at, true) => drop(self.slow.insert(addresses[at % addresses.len()])),
            Event::Slow(at, false) => drop(self.slow.remove(&addresses[at % addresses.len()])),
            Event::Kill(lasts) => self.end(lasts).await,
            Event::Stop(lasts) => {
                self.stop().await?;
                self.end(lasts).await;
            }
            Event::Limits(backend, min, max) => {
                let settings = &mut self.settings[backend % self.site.backends.len()];
                (settings.ready.min, settings.ready.max) = (min, Some(max));
                let name = settings.name.clone();
                self.fleet.lock().book.rules.set_min(&name, min as usize, Fleet::now());
                self.reconfigure()?;
            }
            Event::Ramp(lasts) => {
                for settings in &mut self.settings {
                    settings.warm_up.ramp = Duration::from_secs(lasts);
                }
                self.reconfigure()?;
            }
            Event::Pool(backend, pool) => {
                let backend = self.backend(backend);
                self.pools[backend].0 = pool;
                self.note_offered(backend);
            }
            Event::Readable(backend, readable) => {
                let backend = self.backend(backend);
                self.pools[backend].1 = readable;
                self.note_offered(backend);
            }
        }
        Ok(())
    }

    fn away(&self, node: usize, away: Away) {
        let node = &mut self.fleet.lock().nodes[node];
        if node.away == Away::No {
            node.away = away;
        }
    }

    /// Whoever can read the pool may use these.
    fn note_offered(&self, backend: usize) {
        let name = &self.settings[backend].name;
        let offered = site::offer(backend, self.pools[backend].0, "").candidates;
        let offered = offered.iter().map(|candidate| (name.clone(), candidate.address));
        self.fleet.lock().book.rules.offered.extend(offered);
    }

    /// Which server that is, if there is one.
    pub(crate) fn operate(&self, spot: Spot, change: impl Fn(&mut Server)) -> Option<Key> {
        let backend = &self.settings[self.backend(spot.backend)].name;
        let mut fleet = self.fleet.lock();
        let servers = fleet.nodes[0].haproxy.backend(backend).expect("it is configured");
        let server = servers.servers.get(spot.server % servers.servers.len().max(1))?;
        let key = (backend.clone(), server.name.clone());
        match spot.node {
            Some(node) => fleet.operate(node % self.site.nodes, &key, &change),
            None => (0..self.site.nodes).for_each(|n| fleet.operate(n, &key, &change)),
        }
        Some(key)
    }

    fn order(&mut self, backend: usize, order: Order, lasts: u64) {
        let since = Fleet::now();
        let until = Some(since + Duration::from_secs(lasts));
        let wanted = Override { order, by: Operator::default(), since, until };
        let backend = self.names.backend(&self.settings[self.backend(backend)].name).expect("a name");
        if let Some(agent) = &mut self.agent {
            agent.controller.handle_order(backend, wanted, since);
        }
    }

    pub(crate) fn resume(&mut self, backend: usize) -> Played {
        let backend = self.names.backend(&self.settings[backend].name).expect("a name");
        if let Some(agent) = &mut self.agent {
            agent.controller.handle_resume(backend, Operator::default(), Fleet::now());
            self.fleet.lock().book.resume();
        }
        self.act()
    }

    fn reconfigure(&mut self) -> Played {
        if let Some(agent) = &mut self.agent {
            agent.controller.reconfigure(self.settings.clone(), Fleet::now());
            agent.keep_alike();
        }
        self.act()
    }

    /// SIGTERM.
    async fn stop(&mut self) -> Played {
        let deadline = Moment::now() + STOP_WITHIN;
        if let Some(agent) = &self.agent {
            agent.stop_plans();
        }
        self.join_plans(deadline).await?;
        if let Some(agent) = &mut self.agent {
            agent.controller.handle_stop(Fleet::now());
        }
        self.act()?;
        self.join_plans(deadline).await?;
        self.remember();
        Ok(())
    }

    async fn join_plans(&mut self, deadline: Moment) -> Played {
        loop {
            let Some(Agent { outcomes, plans, .. }) = &mut self.agent else { return Ok(()) };
            let outcome = tokio::select! {
                biased;
                Some(outcome) = outcomes.recv() => outcome,
                ended = plans.join_next() => if ended.is_none() { break } else { continue },
                () = sleep_until(deadline) => break,
            };
            self.take_outcome(&outcome)?;
        }
        while let Some(outcome) = self.agent.as_mut().and_then(|agent| agent.outcomes.try_recv().ok()) {
            self.take_outcome(&outcome)?;
        }
        Ok(())
    }

    /// The agent is no more.
    async fn end(&mut self, lasts: u32) {
        let now = Fleet::now();
        for settings in &self.settings {
            self.fleet.lock().book.rules.set_min(&settings.name, settings.ready.min as usize, now);
        }
        self.agent = None;
        tokio::task::yield_now().await;
        self.down_for = lasts;
    }

    fn system_now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + (Fleet::now() - self.start)
    }

    fn remember(&mut self) {
        if let Some(agent) = &self.agent {
            self.state_file = state_file::render(&agent.controller.memory(Fleet::now()), self.system_now());
        }
    }

    fn begin(&mut self) {
        let memory = state_file::parse(&self.state_file, self.system_now()).expect("its own");
        let settings = self.settings.clone();
        self.agent = Some(Agent::start(&self.fleet, &self.names, settings, &memory, Fleet::now()));
        self.fleet.lock().agent_starts();
    }

    pub(crate) async fn second(&mut self) -> Played {
        if self.agent.is_none() {
            self.down_for = self.down_for.saturating_sub(1);
            if self.down_for == 0 {
                self.begin();
            }
        }
        self.fleet.lock().second();
        self.serve_requests();
        self.quiet += 1;
        for _ in 0..4 {
            self.quarter += 1;
            self.work(Moment::from_std(self.start) + QUARTER * self.quarter).await?;
        }
        let (commands, broken) = {
            let fleet = self.fleet.lock();
            (fleet.changes, fleet.book.broken.first().cloned())
        };
        if std::mem::replace(&mut self.commands, commands) != commands {
            self.quiet = 0;
        }
        broken.map_or(Ok(()), |broken| Err(self.fail(&broken)))
    }

    /// A second's requests, shared out by weight; the fewer servers, the slower.
    fn serve_requests(&mut self) {
        let mut fleet = self.fleet.lock();
        let Fleet { nodes, dead, .. } = &mut *fleet;
        let works = |away: Away| matches!(away, Away::No | Away::Unreachable(_));
        let working = nodes.iter().filter(|node| works(node.away)).count() as f64;
        let mut samples = Vec::new();
        for (n, node) in nodes.iter_mut().enumerate().filter(|(_, node)| works(node.away)) {
            for backend in &mut node.haproxy.backends {
                let serving = backend.servers.iter().filter(|server| server.serves());
                let weights: f64 = serving.clone().map(|server| f64::from(server.weight)).sum();
                let many = serving.clone().count() as f64;
                let id = self.names.backend(&backend.name).expect("a name");
                let before = samples.len();
                for server in serving.filter(|_| self.load > 0.0) {
                    let behind = self.behind.entry((n, (backend.name.clone(), server.name.clone())));
                    let behind = behind.or_default();
                    *behind += f64::from(server.weight) / weights * f64::from(REQUESTS) / working;
                    let ms = 300.0 * self.load / many
                        * if self.slow.contains(&server.address) { 4.0 } else { 1.0 };
                    while *behind >= 1.0 {
                        *behind -= 1.0;
                        let ms = ms as i32;
                        let is_dead =
                            dead.contains(&server.address) || server.address == SocketAddr::from(NOWHERE);
                        samples.push(Sample {
                            backend: id,
                            server: self.names.server(id, &server.name),
                            end: Fleet::now(),
                            timers: Timers::new([0, 0, 0, ms, ms]),
                            class: if is_dead { Class::Server } else { Class::Success },
                            timed_out: false,
                            beconn: 0,
                            srv_conn: 0,
                        });
                    }
                }
                backend.total_sessions += (samples.len() - before) as u64;
            }
        }
        drop(fleet);
        if let Some(agent) = &mut self.agent {
            agent.controller.handle_samples(&samples, Fleet::now());
        }
    }

    /// What is under way goes on until then; the agent may be slow.
    async fn work(&mut self, until: Moment) -> Played {
        let (hears, sees) = (self.dice.chance(3, 4), self.dice.chance(5, 7));
        loop {
            let Some(agent) = &mut self.agent else {
                sleep_until(until).await;
                return Ok(());
            };
            tokio::select! {
                biased;
                Some(outcome) = agent.outcomes.recv(), if hears => self.take_outcome(&outcome)?,
                Some(look) = agent.looks.recv(), if sees => self.take_look(look)?,
                () = sleep_until(until) => return Ok(()),
            }
        }
    }

    fn key(&self, server: ServerId) -> Key {
        let backend = self.names.of_backend(self.names.backend_of(server));
        (backend.to_string(), self.names.of_server(server).to_string())
    }

    fn take_outcome(&mut self, outcome: &Outcome) -> Played {
        let now = Fleet::now();
        self.fleet.lock().tell(|| format!("{outcome:?}"));
        if let Outcome::Failed { server: Some(server), by_other: true, .. } = *outcome {
            let key = self.key(server);
            let is_touched = self.fleet.lock().book.was_touched(&key);
            if !is_touched {
                return Err(self.fail(&format!("nobody has touched {}", key.1)));
            }
            let fleet = &mut *self.fleet.lock();
            let found = fleet.nodes.iter().find_map(|node| node.haproxy.server(&key.0, &key.1));
            if let Some(found) = found {
                fleet.book.met_in_mid_move(&key, found, now);
            }
        }
        let Some(agent) = &mut self.agent else { return Ok(()) };
        if let Outcome::Finished { backend, .. } = *outcome {
            agent.finished(backend, now);
        }
        agent.controller.handle_outcome(outcome, now);
        self.act()
    }

    /// As the agent's loop does it.
    fn take_look(&mut self, Look { asked, found }: Look) -> Played {
        let now = Fleet::now();
        let Some(agent) = &mut self.agent else { return Ok(()) };
        if let Some(inventory) = found {
            let can_see = |backend: &str| {
                let id = self.names.backend(backend).expect("a name");
                !agent.is_moving(id) && agent.settled.get(&id).is_none_or(|&settled| asked >= settled)
            };
            self.fleet.lock().book.look(&inventory, can_see);
            agent.controller.handle_inventory(inventory, asked, now);
        }
        for (n, &(pool, is_readable)) in self.pools.iter().enumerate() {
            let backend = self.names.backend(&self.settings[n].name).expect("a name");
            if is_readable {
                agent.controller.handle_offer(backend, site::offer(n, pool, self.site.backends[n].keywords));
            }
        }
        agent.controller.handle_tick(now);
        agent.keep_alike();
        self.act()
    }

    /// What the agent wants is done.
    fn act(&mut self) -> Played {
        let Some(agent) = &mut self.agent else { return Ok(()) };
        let actions: Vec<Action> = std::iter::from_fn(|| agent.controller.poll_action()).collect();
        if actions.contains(&Action::Remember) {
            self.remember();
        }
        for action in actions {
            let Some(agent) = &mut self.agent else { return Ok(()) };
            match action {
                Action::Remember => {}
                Action::Execute(plan) => {
                    let backend = self.names.of_backend(plan.backend).to_string();
                    let name = |lane: &Lane| self.names.of_server(lane.server).to_string();
                    let servers = plan.lanes.iter().map(|lane| (backend.clone(), name(lane)));
                    let mut fleet = self.fleet.lock();
                    fleet.tell(|| format!("PLAN {plan:?}"));
                    fleet.book.plan(&backend, servers, Fleet::now());
                    drop(fleet);
                    self.quiet = 0;
                    if !agent.execute(plan) {
                        return Err(self.fail("a second plan"));
                    }
                }
                Action::Change(backend, changes) => {
                    self.fleet.lock().tell(|| format!("CHANGE {changes:?}"));
                    self.quiet = 0;
                    agent.change(backend, changes);
                }
                Action::Record(record) => self.fleet.lock().tell(|| format!("{:?}", record.event)),
            }
        }
        Ok(())
    }

    /// The noise stops: nobody does anything any more but the agent.
    pub(crate) fn heal(&mut self) {
        let mut fleet = self.fleet.lock();
        fleet.tell(|| "CALM".to_owned());
        fleet.dead.clear();
        fleet.nodes.iter_mut().for_each(|node| (node.refuses, node.loses) = (0, 0));
        drop(fleet);
        self.slow.clear();
        self.load = self.site.load;
        for backend in 0..self.pools.len() {
            self.pools[backend].1 = true;
            self.note_offered(backend);
        }
    }

    /// What the pool of a backend has.
    pub(crate) fn pool(&self, backend: usize) -> Vec<SocketAddr> {
        let offer = site::offer(backend, self.pools[backend].0, "");
        offer.candidates.iter().map(|candidate| candidate.address).collect()
    }
}
