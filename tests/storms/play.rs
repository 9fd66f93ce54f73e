//! A storm over a site, quarter of a second by quarter of a second, and the calm after it.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use haproxy_autoscale::core::controller::{Action, Controller, Memory, Operator, Order, Override};
use haproxy_autoscale::core::log::sample::{Class, Sample, Timers};
use haproxy_autoscale::core::names::{Names, ServerId};
use haproxy_autoscale::core::plan::inventory::{AdminState, Inventory};
use haproxy_autoscale::core::plan::outcome::{Changes, Outcome};
use haproxy_autoscale::core::settings::{BackendSettings, Policy, Weights};
use haproxy_autoscale::core::units::Weight;
use haproxy_autoscale::state_file;
use proptest::test_runner::TestCaseError;

use super::book::Book;
use super::dice::Dice;
use super::hands::{Hands, Scene};
use super::haproxy::Haproxy;
use super::storm::{Event, Site, Storm};

const QUARTER: Duration = Duration::from_millis(250);
/// Requests a second.
const REQUESTS: u32 = 8;
/// The calm: so long without a move is rest.
const REST: u32 = 90;
/// It has to come within so many seconds.
const WITHIN: u32 = 900;

pub(crate) type Played = Result<(), TestCaseError>;

pub(crate) struct World {
    names: Names,
    settings: BackendSettings,
    /// `None` while the agent is down.
    controller: Option<Controller>,
    down_for: u32,
    haproxy: Haproxy,
    hands: Option<Hands>,
    book: Book,
    dice: Dice,
    start: Instant,
    quarter: u32,
    now: Instant,
    /// What was read, and when it will arrive.
    looks: VecDeque<(u32, Instant, Inventory)>,
    outcomes: VecDeque<Outcome>,
    settled: Option<Instant>,
    state_file: Vec<u8>,
    load: f64,
    slow: Vec<bool>,
    /// By how much each server is behind with its share of the requests.
    behind: Vec<f64>,
    quiet: u32,
    /// What has happened, if anybody wants to know.
    log: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(site: &Site) -> Self {
        let names = Names::default();
        let haproxy = Haproxy::new(&names, &site.servers, site.checked);
        let named = site.settings.servers.keys().filter_map(|name| names.server(haproxy.state.id, name));
        let mut book = Book::new(&names, &haproxy.state, site.settings.hands_off, named.collect());
        book.min = site.settings.ready.min as usize;
        let now = Instant::now();
        let settings = site.settings.clone();
        let controller = Controller::new(names.clone(), vec![settings.clone()], &Memory::default(), now);
        let count = haproxy.state.servers.len();
        Self {
            names,
            settings,
            controller: Some(controller),
            down_for: 0,
            haproxy,
            hands: None,
            book,
            dice: Dice::new(site.seed),
            start: now,
            quarter: 0,
            now,
            looks: VecDeque::new(),
            outcomes: VecDeque::new(),
            settled: None,
            state_file: state_file::render(&Memory::default(), SystemTime::UNIX_EPOCH),
            load: 2.0,
            slow: vec![false; count],
            behind: vec![0.0; count],
            quiet: 0,
            log: std::env::var_os("TRACE").map(|_| Vec::new()),
        }
    }

    pub(crate) fn play(&mut self, storm: &Storm) -> Played {
        for &(after, event) in storm {
            for _ in 0..after {
                self.second()?;
            }
            self.tell(|| format!("EVENT {event:?}"));
            self.happen(event)?;
        }
        self.second()
    }

    /// The noise stops: after a while nothing moves any more, and all is as it should be.
    pub(crate) fn calm_down(&mut self, load: f64) -> Played {
        self.tell(|| "CALM".to_owned());
        self.load = load;
        self.haproxy.refuses = 0;
        self.haproxy.alive.fill(true);
        self.slow.fill(false);
        while self.controller.is_none() || !self.haproxy.answers() {
            self.second()?;
        }
        self.happen(Event::Resume)?;
        self.quiet = 0;
        for _ in 0..WITHIN {
            self.second()?;
            if self.quiet >= REST && self.check_rest().is_ok() {
                return Ok(());
            }
        }
        self.check_rest()?;
        Err(self.fail(format!("no rest within {WITHIN} s")))
    }

    fn fail(&self, why: String) -> TestCaseError {
        let servers = self.haproxy.state.servers.iter().map(|server| {
            let name = self.names.of_server(server.id);
            format!("{name} {} {:?} weight {}", server.state().name(), server.operational, server.weight)
        });
        let servers: Vec<String> = servers.collect();
        let log = self.log.as_deref().unwrap_or_default().join("\n");
        TestCaseError::fail(format!("at {} s: {why}\n{}\n{log}", self.quarter / 4, servers.join("\n")))
    }

    fn check_rest(&mut self) -> Played {
        let (id, now) = (self.haproxy.state.id, self.now);
        let view = self.controller.as_mut().and_then(|controller| controller.view(id, now));
        let view = view.expect("it is configured");
        let fleet = view.fleet.expect("it has been looked at");
        let ready = self.settings.ready;
        let serving = self.haproxy.serving() as u32;
        if serving < ready.min && fleet.startable > 0 {
            return Err(self.fail(format!("{serving} serve, {} could, {ready:?}", fleet.startable)));
        }
        let may_go = self.haproxy.state.serving_by_themselves().count() as u32 > ready.min;
        if ready.max.is_some_and(|max| serving > max) && fleet.removable > 0 && may_go {
            return Err(self.fail(format!("{serving} serve, {} could go, {ready:?}", fleet.removable)));
        }
        if let Some(server) = view.servers.iter().find(|server| server.left_alone.is_some()) {
            return Err(self.fail(format!("{} is left alone", self.names.of_server(server.state.id))));
        }
        // Whoever sets a weight among shares sets it among multiplied ones, which stay so for the sake of the ratio.
        if self.are_shares_in_force() || (self.may_share() && self.book.somebody_weighs) {
            return Ok(());
        }
        for server in &self.haproxy.state.servers {
            let name = self.names.of_server(server.id);
            let is_drain = server.state() == AdminState::Drain;
            if is_drain && self.book.is_half_drained(server.id) && server.weight > Weight::ZERO {
                return Err(self.fail(format!("{name} is half drained")));
            }
            let is_rightful = self.book.rightful[&server.id].contains(&server.weight);
            if !is_rightful && self.settings.weights != Weights::ByCapacity {
                return Err(self.fail(format!("the weight of {name} is {}", server.weight)));
            }
        }
        if self.settings.weights == Weights::ByCapacity { self.check_proportions() } else { Ok(()) }
    }

    /// Weights are less for a while: of servers that were slow once, and are parked since. They are remembered.
    fn are_shares_in_force(&self) -> bool {
        let memory = self.controller.as_ref().map(|controller| controller.memory(self.now));
        self.may_share() && memory.is_some_and(|memory| !memory.backends[0].weights.is_empty())
    }

    fn may_share(&self) -> bool {
        self.settings.policy == Policy::Model || self.settings.weights == Weights::ByLatency
    }

    fn check_proportions(&self) -> Played {
        let weighed = self.haproxy.state.servers.iter();
        let weighed = weighed.filter(|server| !server.backup && server.weight > Weight::ZERO);
        let per_capacity: Vec<f64> = weighed
            .map(|server| {
                let named = self.settings.servers.get(&*self.names.of_server(server.id));
                f64::from(server.weight.value()) / named.map_or(1.0, |named| named.capacity)
            })
            .collect();
        let is_alike = per_capacity.iter().all(|each| (each - per_capacity[0]).abs() < 1e-6);
        if is_alike { Ok(()) } else { Err(self.fail(format!("weights by capacity: {per_capacity:?}"))) }
    }

    fn happen(&mut self, event: Event) -> Played {
        let count = self.haproxy.state.servers.len();
        let id = |server: usize| self.haproxy.state.servers[server % count].id;
        match event {
            Event::Load(load) => self.load = load,
            Event::State(server, state) => {
                self.operate(id(server), |haproxy, id| haproxy.set_state(id, state))
            }
            Event::Weight(server, weight) => {
                let weight = Weight::saturating(weight.into());
                self.operate(id(server), |haproxy, id| haproxy.set_weight(id, weight));
            }
            Event::Order(order, lasts) => self.order(order, lasts),
            Event::Resume => {
                let backend = self.haproxy.state.id;
                if let Some(controller) = &mut self.controller {
                    controller.handle_resume(backend, Operator::default(), self.now);
                    self.book.resume(&self.haproxy.state);
                }
                self.act()?;
            }
            Event::Reload(keeps) if self.haproxy.answers() => self.haproxy.reload(keeps),
            Event::Reload(_) => {}
            Event::Crash(lasts) => {
                self.haproxy.reload(false);
                self.haproxy.away = lasts;
            }
            Event::Hang(lasts) => self.haproxy.away = lasts,
            Event::Refuse(commands) => self.haproxy.refuses = commands,
            Event::Die(server) => self.haproxy.alive[server % count] = false,
            Event::Revive(server) => self.haproxy.alive[server % count] = true,
            Event::Slow(server, slow) => self.slow[server % count] = slow,
            Event::Kill(lasts) => self.end(lasts),
            Event::Stop(lasts) => {
                self.stop()?;
                self.end(lasts);
            }
            Event::Limits(min, max) => {
                (self.settings.ready.min, self.settings.ready.max) = (min, Some(max));
                self.book.min = min as usize;
                self.reconfigure()?;
            }
            Event::Ramp(lasts) => {
                self.settings.warm_up.ramp = Duration::from_secs(lasts);
                self.reconfigure()?;
            }
        }
        Ok(())
    }

    fn operate(&mut self, id: ServerId, change: impl FnOnce(&mut Haproxy, ServerId)) {
        if self.haproxy.answers() && self.haproxy.server(id).tracks.is_none() {
            change(&mut self.haproxy, id);
            self.book.their_change(self.haproxy.server(id), self.now);
        }
    }

    fn order(&mut self, order: Order, lasts: u64) {
        let (backend, since) = (self.haproxy.state.id, self.now);
        let until = Some(since + Duration::from_secs(lasts));
        let wanted = Override { order, by: Operator::default(), since, until };
        if let Some(controller) = &mut self.controller {
            controller.handle_order(backend, wanted, since);
        }
    }

    fn reconfigure(&mut self) -> Played {
        if let Some(controller) = &mut self.controller {
            controller.reconfigure(vec![self.settings.clone()], self.now);
        }
        self.act()
    }

    /// SIGTERM.
    fn stop(&mut self) -> Played {
        for restores in [false, true] {
            if restores && let Some(controller) = &mut self.controller {
                controller.handle_stop(self.now);
                self.act()?;
            }
            if let Some(hands) = &mut self.hands {
                hands.changes = Changes { stop: !restores, ..hands.changes.clone() };
            }
            for _ in 0..8 {
                self.work();
                self.report()?;
                self.now += QUARTER / 8;
            }
        }
        self.remember();
        Ok(())
    }

    /// The agent is no more.
    fn end(&mut self, lasts: u32) {
        self.book.min = self.settings.ready.min as usize;
        self.controller = None;
        self.hands = None;
        self.looks.clear();
        self.outcomes.clear();
        self.down_for = lasts;
    }

    fn system_now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + (self.now - self.start)
    }

    fn remember(&mut self) {
        if let Some(controller) = &self.controller {
            self.state_file = state_file::render(&controller.memory(self.now), self.system_now());
        }
    }

    fn begin(&mut self) {
        let memory = state_file::parse(&self.state_file, self.system_now()).expect("its own");
        let settings = vec![self.settings.clone()];
        self.controller = Some(Controller::new(self.names.clone(), settings, &memory, self.now));
        self.settled = None;
        self.book.restart();
    }

    fn second(&mut self) -> Played {
        if self.controller.is_none() {
            self.down_for = self.down_for.saturating_sub(1);
            if self.down_for == 0 {
                self.begin();
            }
        }
        self.haproxy.second(self.dice.roll(8));
        self.serve_requests();
        self.quiet += 1;
        for quarter in 0..4 {
            self.quarter += 1;
            self.now = self.now.max(self.start + QUARTER * self.quarter);
            self.work();
            self.report()?;
            self.now += Duration::from_millis(1);
            if quarter == 1 {
                self.look();
            }
            self.now += Duration::from_millis(1);
            self.arrive()?;
        }
        Ok(())
    }

    /// A second's requests, shared out by weight; the fewer servers, the slower.
    fn serve_requests(&mut self) {
        let weights: f64 = self.haproxy.state.serving().map(|server| f64::from(server.weight.value())).sum();
        let serving = self.haproxy.serving() as f64;
        let mut samples = Vec::new();
        for (n, server) in self.haproxy.state.servers.iter().enumerate() {
            if !server.is_serving() || self.load == 0.0 || !self.haproxy.answers() {
                continue;
            }
            let share = f64::from(server.weight.value()) / weights;
            let ms = 300.0 * self.load / serving * if self.slow[n] { 4.0 } else { 1.0 };
            self.behind[n] += share * f64::from(REQUESTS);
            while self.behind[n] >= 1.0 {
                self.behind[n] -= 1.0;
                let ms = ms as i32;
                samples.push(Sample {
                    backend: self.haproxy.state.id,
                    server: Some(server.id),
                    end: self.now,
                    timers: Timers::new([0, 0, 0, ms, ms]),
                    class: if self.haproxy.alive[n] { Class::Success } else { Class::Server },
                    timed_out: false,
                    beconn: 0,
                    srv_conn: 0,
                });
            }
        }
        self.haproxy.state.total_sessions += samples.len() as u64;
        if let Some(controller) = &mut self.controller {
            controller.handle_samples(&samples, self.now);
        }
    }

    /// What is under way goes on.
    fn work(&mut self) {
        let Some(hands) = &mut self.hands else { return };
        let scene = &mut Scene {
            haproxy: &mut self.haproxy,
            book: &mut self.book,
            dice: &mut self.dice,
            now: self.now,
        };
        let outcomes = hands.go_on(scene);
        for outcome in outcomes {
            self.tell(|| format!("{outcome:?}"));
            self.outcomes.push_back(outcome);
        }
    }

    /// The agent is told what has become of it, perhaps a little later.
    fn report(&mut self) -> Played {
        if let Some(broken) = self.book.broken.first() {
            return Err(self.fail(broken.clone()));
        }
        if self.dice.chance(1, 4) {
            return Ok(());
        }
        while let Some(outcome) = self.outcomes.pop_front() {
            if let Outcome::Failed { server: Some(server), by_other: true, .. } = outcome {
                if !self.book.was_touched(server) {
                    return Err(self.fail(format!("nobody has touched {}", self.names.of_server(server))));
                }
                self.book.met_in_mid_move(self.haproxy.server(server), self.now);
            }
            if let Outcome::Finished { .. } = outcome {
                self.hands = None;
                self.settled = Some(self.now);
            }
            if let Some(controller) = &mut self.controller {
                controller.handle_outcome(&outcome, self.now);
            }
            self.act()?;
        }
        Ok(())
    }

    /// HAProxy is asked.
    fn look(&mut self) {
        if self.controller.is_some() && self.haproxy.answers() {
            let lag = [0, 0, 0, 0, 1, 2, 5][self.dice.roll(7) as usize];
            self.looks.push_back((self.quarter + lag, self.now, self.haproxy.inventory()));
        }
    }

    /// What it has said arrives, and is thought about. If it says nothing, that is thought about as well.
    fn arrive(&mut self) -> Played {
        let is_due = self.looks.front().is_some_and(|&(due, ..)| due <= self.quarter);
        let Some(controller) = &mut self.controller else { return Ok(()) };
        if is_due && let Some((_, asked, inventory)) = self.looks.pop_front() {
            let is_outdated = self.settled.is_some_and(|settled| asked < settled);
            self.book.look(&inventory, asked, self.hands.is_none() && !is_outdated);
            controller.handle_inventory(inventory, asked, self.now);
        } else if !self.quarter.is_multiple_of(4) || !self.looks.is_empty() {
            return Ok(());
        }
        controller.handle_tick(self.now);
        self.act()
    }

    /// What the agent wants is done.
    fn act(&mut self) -> Played {
        while let Some(action) = self.controller.as_mut().and_then(Controller::poll_action) {
            match action {
                Action::Remember => self.remember(),
                Action::Execute(plan) => {
                    self.tell(|| format!("PLAN {plan:?}"));
                    self.quiet = 0;
                    if self.hands.replace(Hands::new(plan)).is_some() {
                        return Err(self.fail("a second plan".to_owned()));
                    }
                }
                Action::Change(_, changes) => {
                    self.tell(|| format!("CHANGE {changes:?}"));
                    self.quiet = 0;
                    if let Some(hands) = &mut self.hands {
                        hands.changes = changes;
                    }
                }
                Action::Record(record) => self.tell(|| format!("{:?}", record.event)),
            }
        }
        Ok(())
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>7.2} {}", (self.now - self.start).as_secs_f64(), what()));
        }
    }
}
