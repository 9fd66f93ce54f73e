//! HAProxy with its clients and servers, event by event.
//!
//! In: a [`Scenario`], and what is done to servers. Out: a [`Sample`] for each request at its end, an [`Answer`]
//! for each at the moment its latency is settled, and what HAProxy would tell of the backend.
//!
//! ```text
//!  Coming ─▶ pick a server ─▶ [HAProxy's queue] ─▶ server's own queue ─▶ worker ─▶ headers ─▶ last byte
//!              none up: 503      timeout queue: 503         timeout server: 504
//! ```
//! A queue in HAProxy goes to whichever server has a slot; what waits on a server stays there. MAINT ends
//! no connection, as with the real one; what is left then goes on until it ends by itself.

mod agenda;
mod balance;
mod incidents;
mod outside;
mod requests;
mod server;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_pcg::Pcg64;

use self::agenda::Agenda;
use self::balance::{Line, Pick};
use self::requests::{RequestId, Requests, Stage};
use self::server::{Finish, Server};
use super::arrivals::{Arrivals, Coming};
use super::random;
use super::scenario::Scenario;
use crate::core::log::sample::{Class, Sample, Timers};
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::AdminFlags;

/// Declared `disabled`, and in MAINT for it.
const SPARE: AdminFlags = AdminFlags(0x05);

/// HAProxy, its clients and its servers.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    /// What `now_s` is counted from.
    base: Instant,
    now_s: f64,
    names: Names,
    backend: BackendId,
    ids: Vec<ServerId>,
    arrivals: Arrivals,
    lines: Vec<Line>,
    servers: Vec<Server>,
    requests: Requests,
    agenda: Agenda<Event>,
    /// HAProxy's queue, in the order of their coming.
    queue: VecDeque<RequestId>,
    /// Requests sent to servers, in the order of their timeouts; those that were answered drop out at the front.
    unanswered: VecDeque<(f64, RequestId)>,
    /// Times as long as each request takes on every server.
    slower: f64,
    random: Pcg64,
    clock: u64,
    /// What has come of it since it was last taken.
    news: News,
    totals: Totals,
}

/// What is to happen in the world.
#[derive(Clone, Copy, Debug)]
enum Event {
    Finish(usize, Finish),
    LastByte(RequestId),
    /// An incident begins or ends.
    Turn,
    /// The health check of a server tells what has become of it.
    Check(usize),
}

/// What a run of the world has brought.
#[derive(Debug, Default)]
pub struct News {
    /// Lines of the log, in order.
    pub samples: Vec<Sample>,
    /// Latencies, in order.
    pub answers: Vec<Answer>,
}

/// How long a request waited for its answer, at the moment that was settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Seconds from the start.
    pub at_s: f64,
    /// Tw + Tr, milliseconds; `None` if it got an error instead.
    pub waited_ms: Option<f64>,
}

/// Counts over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that have come.
    pub came: u64,
    /// Of them ended, one way or another.
    pub ended: u64,
    /// Servers started or stopped.
    pub moves: u64,
    /// Servers in DRAIN that were taken back before they were stopped.
    pub taken_back: u64,
    /// Weights changed.
    pub weight_changes: u64,
}

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Answered,
    /// With an error of the server's own.
    Failed,
    NoServer,
    QueueTimeout,
    ServerTimeout,
    Refused,
    Broken,
}

impl Ending {
    /// Of a request that has its answer.
    fn of_answered(coming: &Coming) -> Self {
        if coming.fails { Self::Failed } else { Self::Answered }
    }
}

impl World {
    /// The world of `scenario` at its start, which is `base`.
    ///
    /// # Panics
    /// If the pool has more than 100,000 servers.
    pub fn new(scenario: &Scenario, seed: u64, base: Instant) -> Self {
        let names = Names::default();
        // The first name in an empty table.
        let backend = names.backend(&scenario.names.backend).expect("a table with room");
        // A table that takes more names than a pool may have servers.
        let id = |n: usize| names.server(backend, &scenario.names.server(n)).expect("a table with room");
        let ids = (0..scenario.servers).map(id).collect();
        let is_serving = |n: usize| n < scenario.serving_at_start;
        let flags = |n| if is_serving(n) { AdminFlags(0) } else { SPARE };
        let mut agenda = Agenda::new();
        for incident in &scenario.incidents {
            agenda.enter(incident.from_s, Event::Turn);
            agenda.enter(incident.until_s, Event::Turn);
        }
        Self {
            base,
            now_s: 0.0,
            names,
            backend,
            ids,
            arrivals: Arrivals::new(scenario, seed),
            lines: (0..scenario.servers).map(|n| Line::new(flags(n))).collect(),
            servers: (0..scenario.servers)
                .map(|n| Server::new(scenario.server_at(n), is_serving(n)))
                .collect(),
            requests: Requests::default(),
            agenda,
            queue: VecDeque::new(),
            unanswered: VecDeque::new(),
            slower: 1.0,
            random: random::stream(seed, random::SERVERS),
            clock: 0,
            news: News::default(),
            totals: Totals::default(),
            scenario: scenario.clone(),
        }
    }

    /// Lets everything happen up to `until_s`.
    pub fn run_until(&mut self, until_s: f64) {
        loop {
            let queue_s = self.next_queue_timeout();
            let server_s = self.next_server_timeout();
            let arrival_s = self.arrivals.peek().unwrap_or(f64::INFINITY);
            let event_s = self.agenda.next_at();
            let next_s = event_s.min(arrival_s).min(queue_s).min(server_s);
            if next_s > until_s {
                break;
            }
            self.now_s = self.now_s.max(next_s);
            if event_s <= next_s {
                self.happen();
            } else if arrival_s <= next_s {
                self.arrive();
            } else if queue_s <= next_s {
                let request = self.queue.pop_front();
                self.end_if(request, Ending::QueueTimeout);
            } else {
                let request = self.unanswered.pop_front().map(|(_, request)| request);
                self.end_if(request, Ending::ServerTimeout);
            }
        }
        self.now_s = until_s;
    }

    /// What has come since the last call, in order.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Counts up to now.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Requests that have come and not ended.
    pub fn underway(&self) -> u32 {
        self.requests.len()
    }

    fn end_if(&mut self, request: Option<RequestId>, ending: Ending) {
        if let Some(request) = request {
            self.end(request, ending);
        }
    }

    fn happen(&mut self) {
        match self.agenda.take() {
            Some(Event::Finish(server, finish)) => {
                let finished = self.servers[server].finish(finish, self.slower, self.now_s);
                let Some((request, next)) = finished else { return };
                self.look_out_for(server, next);
                self.answer(request);
            }
            Some(Event::LastByte(id)) => {
                if let Some(request) = self.requests.get(id) {
                    self.end(id, Ending::of_answered(&request.coming));
                }
            }
            Some(Event::Turn) => self.turn(),
            Some(Event::Check(server)) => self.check(server),
            None => {}
        }
    }

    fn look_out_for(&mut self, server: usize, finish: Option<Finish>) {
        if let Some(finish) = finish {
            self.agenda.enter(finish.at_s, Event::Finish(server, finish));
        }
    }

    fn arrive(&mut self) {
        let Some(coming) = self.arrivals.next() else { return };
        self.totals.came += 1;
        let request = self.requests.add(coming);
        match balance::pick(&mut self.lines, &self.scenario.haproxy) {
            Pick::Server(server) => self.send(request, coming, server),
            Pick::Full => self.queue.push_back(request),
            Pick::None => self.end(request, Ending::NoServer),
        }
    }

    fn send(&mut self, request: RequestId, coming: Coming, server: usize) {
        let now_s = self.now_s;
        self.clock += 1;
        balance::note(&mut self.lines[server], true, self.clock);
        if let Some(request) = self.requests.get_mut(request) {
            request.stage = Stage::Sent { server, at_s: now_s };
        }
        if !self.servers[server].accepts(now_s) {
            self.end(request, Ending::Refused);
            return;
        }
        self.unanswered.push_back((now_s + self.scenario.haproxy.server_timeout_s, request));
        let next = self.servers[server].take(request, coming.service_s, self.slower, now_s);
        self.look_out_for(server, next);
    }

    /// The server has answered, if HAProxy still waits for it.
    fn answer(&mut self, id: RequestId) {
        let at_s = self.now_s;
        let Some(request) = self.requests.get_mut(id) else { return };
        let Stage::Sent { server, at_s: sent_s } = request.stage else { return };
        let coming = request.coming;
        request.stage = Stage::Answered { server, sent_s, at_s };
        let waited_ms = (!coming.fails).then_some((at_s - coming.at_s) * 1e3);
        self.news.answers.push(Answer { at_s, waited_ms });
        if coming.read_for_s > 0.0 {
            self.agenda.enter(at_s + coming.read_for_s, Event::LastByte(id));
        } else {
            self.end(id, Ending::of_answered(&coming));
        }
    }

    /// Ends a request, writes its line, and gives its slot to the next one.
    fn end(&mut self, id: RequestId, ending: Ending) {
        let Some(request) = self.requests.remove(id) else { return };
        self.totals.ended += 1;
        let server = match request.stage {
            Stage::Queued => None,
            Stage::Sent { server, .. } | Stage::Answered { server, .. } => Some(server),
        };
        if let Some(server) = server {
            self.clock += 1;
            balance::note(&mut self.lines[server], false, self.clock);
        }
        if !matches!(request.stage, Stage::Answered { .. }) {
            self.news.answers.push(Answer { at_s: self.now_s, waited_ms: None });
        }
        let sample = self.sample(&request.coming, request.stage, server, ending);
        self.news.samples.push(sample);
        if let Some(server) = server {
            self.fill(server);
        }
    }

    fn sample(&self, coming: &Coming, stage: Stage, server: Option<usize>, ending: Ending) -> Sample {
        // A timeout of 10 s is 10,000 ms, and not 9,999 for want of digits.
        let ms = |seconds: f64| (seconds * 1e3 + 1e-6) as i32;
        let (sent_s, answered_s) = match stage {
            Stage::Queued => (None, None),
            Stage::Sent { at_s, .. } => (Some(at_s), None),
            Stage::Answered { sent_s, at_s, .. } => (Some(sent_s), Some(at_s)),
        };
        let queued = match ending {
            Ending::NoServer => -1,
            _ => ms(sent_s.unwrap_or(self.now_s) - coming.at_s),
        };
        let connected = if sent_s.is_some() && ending != Ending::Refused { 0 } else { -1 };
        let answered = answered_s.zip(sent_s).map_or(-1, |(answered, sent)| ms(answered - sent));
        let total = ms(self.now_s - coming.at_s + coming.sent_for_s);
        Sample {
            backend: self.backend,
            server: server.map(|server| self.ids[server]),
            end: self.base + Duration::from_secs_f64(self.now_s),
            timers: Timers::new([ms(coming.sent_for_s), queued, connected, answered, total]),
            class: match ending {
                Ending::Answered => Class::Success,
                Ending::NoServer | Ending::QueueTimeout => Class::Saturation,
                Ending::Failed | Ending::ServerTimeout | Ending::Refused | Ending::Broken => Class::Server,
            },
            timed_out: matches!(ending, Ending::QueueTimeout | Ending::ServerTimeout),
            beconn: self.requests.len(),
            srv_conn: server.map_or(0, |server| self.lines[server].served),
        }
    }

    /// Sends what waits in HAProxy's queue to `server`, as far as it has slots.
    fn fill(&mut self, server: usize) {
        while !self.queue.is_empty() {
            let line = &self.lines[server];
            if !line.is_usable() || !line.has_slot(&self.scenario.haproxy) {
                return;
            }
            let Some(id) = self.queue.pop_front() else { return };
            if let Some(coming) = self.requests.get(id).map(|request| request.coming) {
                self.send(id, coming, server);
            }
        }
    }

    fn next_queue_timeout(&self) -> f64 {
        let first = self.queue.front().and_then(|id| self.requests.get(*id));
        first.map_or(f64::INFINITY, |request| request.coming.at_s + self.scenario.haproxy.queue_timeout_s)
    }

    /// When the request that has waited for a server the longest is given up.
    fn next_server_timeout(&mut self) -> f64 {
        while let Some(&(at_s, id)) = self.unanswered.front() {
            let waits =
                self.requests.get(id).is_some_and(|request| matches!(request.stage, Stage::Sent { .. }));
            if waits {
                return at_s;
            }
            self.unanswered.pop_front();
        }
        f64::INFINITY
    }
}
