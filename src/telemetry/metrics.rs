//! Every metric there is, in one place, with its name.
//!
//! Labels come from bounded sets only: configured backends, their servers, fixed words.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::files::PoolTrouble;
use crate::core::controller::{Counted, Event, Order, Record, View};
use crate::core::log::reader::LineCounts;
use crate::core::log::sample::{Class, Sample};
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::AdminState;
use crate::core::plan::nodes::NodeState;
use crate::core::plan::outcome::Outcome;
use crate::core::settings::{ReadyLimits, Timer};
use crate::lasting::event::Event as LastingEvent;

mod lasting;

use lasting::LastingMetrics;

/// Upper bounds of the latency histograms, in seconds: 5 ms to 30 s, at most a factor of 2.5 apart.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Servers with histograms of their own: a configuration of 1,000 backends with 16 servers. What else
/// a garbled log may name must not fill the memory.
const MOST_SERVERS: usize = 1 << 14;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Backend {
    backend: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Server {
    backend: String,
    server: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerTimer {
    backend: String,
    server: String,
    timer: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcomes {
    backend: String,
    class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Decisions {
    backend: String,
    decision: &'static str,
    rule: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServersIn {
    backend: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Limit {
    backend: String,
    limit: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Node {
    node: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;
type Histograms = Family<ServerTimer, Histogram, fn() -> Histogram>;

/// The metrics of one agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    lines: Family<Kind, Counter>,
    lost: Counter,
    samples: Family<Kind, Counter>,
    coverage: Family<Backend, Seconds>,
    requests: Family<Outcomes, Counter>,
    latency: Histograms,
    p95: Family<Backend, Seconds>,
    server_p95: Family<Server, Seconds>,
    target_latency: Family<Backend, Seconds>,
    target_below: Family<Backend, Seconds>,
    servers: Family<ServersIn, Gauge>,
    weight: Family<Server, Gauge>,
    rate: Family<Backend, Seconds>,
    cooldown: Family<Backend, Seconds>,
    paused: Family<Backend, Gauge>,
    pinned: Family<Backend, Gauge>,
    limits: Family<Limit, Gauge>,
    decisions: Family<Decisions, Counter>,
    moves: Family<Backend, Counter>,
    failures: Family<Backend, Counter>,
    haproxy_up: Gauge,
    node_up: Family<Node, Gauge>,
    node_left: Family<Node, Gauge>,
    dry_run: Gauge,
    config_refused: Gauge,
    pool_not_read: Family<Backend, Gauge>,
    lasting: LastingMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("haproxy_autoscale"),
            lines: Family::default(),
            lost: Counter::default(),
            samples: Family::default(),
            coverage: Family::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BOUNDS)),
            p95: Family::default(),
            server_p95: Family::default(),
            target_latency: Family::default(),
            target_below: Family::default(),
            servers: Family::default(),
            weight: Family::default(),
            rate: Family::default(),
            cooldown: Family::default(),
            paused: Family::default(),
            pinned: Family::default(),
            limits: Family::default(),
            decisions: Family::default(),
            moves: Family::default(),
            failures: Family::default(),
            haproxy_up: Gauge::default(),
            node_up: Family::default(),
            node_left: Family::default(),
            dry_run: Gauge::default(),
            config_refused: Gauge::default(),
            pool_not_read: Family::default(),
            lasting: LastingMetrics::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("log_lines", "Lines read, by what they were", self.lines.clone());
        r.register("lost_lines", "Lines a source lost before they could be read", self.lost.clone());
        let help = "Requests by use: in a window, too late for it, of a backend nobody named, told of before, no room for its name";
        r.register("samples", help, self.samples.clone());
        r.register("requests", "Requests of a backend, by how they ended", self.requests.clone());
        let help = "Requests understood in the log, of those that HAProxy counted; not there while that cannot be said";
        r.register("coverage_ratio", help, self.coverage.clone());
        r.register(
            "latency_seconds",
            "Latency of requests by server, of Tw, Tr and Tt",
            self.latency.clone(),
        );
        r.register("p95_seconds", "95th percentile of the target's timer over the window", self.p95.clone());
        r.register("server_p95_seconds", "The same of each server", self.server_p95.clone());
        let help = "What the target is held against: its statistic over the window";
        r.register("target_latency_seconds", help, self.target_latency.clone());
        r.register("target_below_seconds", "What it has to stay below", self.target_below.clone());
        r.register("servers", "Servers of a backend by state", self.servers.clone());
        r.register("server_weight", "Weight of a server, 0 to 256", self.weight.clone());
        r.register("request_rate", "Requests a second over the window", self.rate.clone());
        r.register("cooldown_seconds", "What is left of the cooldown", self.cooldown.clone());
        r.register("paused", "1 while an operator has paused the backend", self.paused.clone());
        r.register(
            "pinned_servers",
            "Servers that an operator has pinned the backend to",
            self.pinned.clone(),
        );
        let help = "Fewest and most serving servers by config and schedule; no most: as many as there are";
        r.register("servers_limit", help, self.limits.clone());
        r.register("evaluations", "Evaluations that changed the decision, by rule", self.decisions.clone());
        r.register("moves", "Servers moved, as HAProxy confirmed", self.moves.clone());
        r.register("failed_steps", "Steps of plans that failed for good", self.failures.clone());
        r.register(
            "haproxy_up",
            "1 if HAProxy answered last time, or one of several",
            self.haproxy_up.clone(),
        );
        r.register("haproxy_node_up", "1 if this HAProxy answered last time", self.node_up.clone());
        let help = "What this HAProxy is still to be told, to have what the others have";
        r.register("haproxy_node_left", help, self.node_left.clone());
        r.register("dry_run", "1 if nothing is really moved", self.dry_run.clone());
        let help = "1 while an older config holds, as the one that was to be reloaded was refused";
        r.register("config_refused", help, self.config_refused.clone());
        let help = "1 while the pool of the backend cannot be read, and what it offered before holds";
        r.register("pool_not_read", help, self.pool_not_read.clone());
        self.lasting.register(r);
    }

    /// Counts what a reader saw.
    pub fn count_lines(&self, counts: &LineCounts) {
        let kinds =
            [("request", counts.requests), ("message", counts.messages), ("unparsed", counts.unparsed)];
        for (kind, count) in kinds {
            self.lines.get_or_create(&Kind { kind }).inc_by(count);
        }
        self.lost.inc_by(counts.lost);
        self.samples.get_or_create(&Kind { kind: "dropped" }).inc_by(counts.dropped);
    }

    /// Counts what became of samples.
    pub fn count_samples(&self, counted: Counted) {
        let kinds = [
            ("used", counted.used),
            ("late", counted.late),
            ("elsewhere", counted.elsewhere),
            ("duplicate", counted.duplicate),
        ];
        for (kind, count) in kinds {
            self.samples.get_or_create(&Kind { kind }).inc_by(count);
        }
    }

    /// Counts a decision, a move, a failure.
    pub fn count(&self, record: &Record, names: &Names) {
        let backend = names.of_backend(record.backend).to_string();
        match &record.event {
            Event::Decided { decision, .. } => {
                let labels = Decisions { backend, decision: decision.name(), rule: decision.reason().key() };
                self.decisions.get_or_create(&labels).inc();
            }
            Event::Outcome(Outcome::Moved { .. }) => {
                self.moves.get_or_create(&Backend { backend }).inc();
            }
            Event::Outcome(Outcome::Failed { .. }) => {
                self.failures.get_or_create(&Backend { backend }).inc();
            }
            Event::Outcome(_)
            | Event::Ordered(_)
            | Event::OrderEnded { .. }
            | Event::ChangedByOther { .. }
            | Event::HandsOffEnded { .. }
            | Event::WeightsBroughtBack(_)
            | Event::Checked { .. }
            | Event::NotReplaced(_)
            | Event::Restarted(_) => {}
        }
    }

    /// Counts what was kept, reloaded or started of `node` at `now_s`, in seconds of Unix time.
    pub fn count_lasting(&self, event: &LastingEvent, node: &str, now_s: f64) {
        self.lasting.count(event, node, now_s);
    }

    /// Shows that nothing was kept yet of `node`, where changes are to last.
    pub fn begin_lasting(&self, node: &str) {
        self.lasting.begin(node);
    }

    /// Nothing is really done.
    pub fn set_dry_run(&self, dry_run: bool) {
        self.dry_run.set(i64::from(dry_run));
    }

    /// Whether HAProxy answered.
    pub fn set_haproxy_up(&self, up: bool) {
        self.haproxy_up.set(i64::from(up));
    }

    /// How each HAProxy stands.
    pub fn show_nodes<'a>(&self, nodes: impl Iterator<Item = (&'a str, &'a NodeState)>) {
        for (node, state) in nodes {
            let up = state.standing.answers();
            let labels = Node { node: node.to_owned() };
            self.node_up.get_or_create(&labels).set(i64::from(up));
            self.node_left.get_or_create(&labels).set(i64::try_from(state.left).unwrap_or(i64::MAX));
        }
    }

    /// Takes over the figures of now. What is in no view, or has no figure, is no longer shown.
    pub fn show(&self, views: &[View], names: &Names) {
        for seconds in
            [&self.coverage, &self.p95, &self.target_latency, &self.target_below, &self.rate, &self.cooldown]
        {
            seconds.clear();
        }
        self.pinned.clear();
        self.paused.clear();
        self.limits.clear();
        self.server_p95.clear();
        self.servers.clear();
        self.weight.clear();
        for view in views {
            self.show_backend(view, names);
            self.show_servers(view, names);
        }
    }

    fn show_backend(&self, view: &View, names: &Names) {
        let labels = Backend { backend: names.of_backend(view.backend).to_string() };
        let set = |family: &Family<Backend, Seconds>, value: f64| family.get_or_create(&labels).set(value);
        set(&self.rate, view.snapshot.rate);
        set(&self.cooldown, view.cooldown.as_secs_f64());
        set(&self.target_below, view.target.below.as_secs_f64());
        let order = view.overridden.as_ref().map(|wanted| wanted.order);
        self.paused.get_or_create(&labels).set(i64::from(order == Some(Order::Pause)));
        if let Some(Order::Pin(to)) = order {
            self.pinned.get_or_create(&labels).set(i64::from(to));
        }
        let ReadyLimits { min, max } = view.limits.now;
        for (limit, servers) in [("min", Some(min)), ("max", max)] {
            let Some(servers) = servers else { continue };
            let labels = Limit { backend: labels.backend.clone(), limit };
            self.limits.get_or_create(&labels).set(i64::from(servers));
        }
        if let Some(found) = view.coverage {
            set(&self.coverage, found.ratio());
        }
        if let Some(latency) = view.snapshot.latency {
            set(&self.target_latency, latency.as_secs_f64());
        }
        if let Some(p95) = view.snapshot.p95 {
            set(&self.p95, p95.as_secs_f64());
        }
    }

    fn show_servers(&self, view: &View, names: &Names) {
        let backend = names.of_backend(view.backend).to_string();
        let count = |state, count: usize| {
            let labels = ServersIn { backend: backend.clone(), state };
            self.servers.get_or_create(&labels).set(count as i64);
        };
        let in_state = |state| view.servers.iter().filter(|server| server.state.state() == state).count();
        count("serving", view.servers.iter().filter(|server| server.state.is_serving()).count());
        count("ready", in_state(AdminState::Ready));
        count("drain", in_state(AdminState::Drain));
        count("maint", in_state(AdminState::Maint));
        for server in &view.servers {
            let server_name = names.of_server(server.state.id).to_string();
            let labels = Server { backend: backend.clone(), server: server_name };
            self.weight.get_or_create(&labels).set(i64::from(server.state.weight.value()));
            if let Some(p95) = server.snapshot.as_ref().and_then(|snapshot| snapshot.p95) {
                self.server_p95.get_or_create(&labels).set(p95.as_secs_f64());
            }
        }
    }

    /// Takes over whether the config was refused, and what is wrong with each pool.
    pub fn show_files<'a>(
        &self,
        config_refused: bool,
        pools: impl Iterator<Item = (&'a str, Option<&'a PoolTrouble>)>,
    ) {
        self.config_refused.set(i64::from(config_refused));
        self.pool_not_read.clear();
        for (backend, trouble) in pools {
            let labels = Backend { backend: backend.to_owned() };
            self.pool_not_read.get_or_create(&labels).set(i64::from(trouble.is_some()));
        }
    }

    /// All of them in the OpenMetrics text format, which Prometheus reads.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Counts requests; keeps each series at hand, so that a request costs no allocation.
#[derive(Debug, Default)]
pub struct Observer {
    classes: HashMap<(BackendId, Class), Counter>,
    servers: HashMap<ServerId, [Histogram; 3]>,
}

/// The timers that are exported as histograms.
const EXPORTED: [Timer; 3] = [Timer::Tw, Timer::Tr, Timer::Tt];

impl Observer {
    /// Counts one request of a configured backend.
    pub fn observe(&mut self, sample: &Sample, metrics: &Metrics, names: &Names) {
        let count = self.classes.entry((sample.backend, sample.class)).or_insert_with(|| {
            let backend = names.of_backend(sample.backend).to_string();
            metrics.requests.get_or_create_owned(&Outcomes { backend, class: class_name(sample.class) })
        });
        count.inc();
        let Some(server) = sample.server else { return };
        if self.servers.len() >= MOST_SERVERS && !self.servers.contains_key(&server) {
            return;
        }
        let histograms = self.servers.entry(server).or_insert_with(|| {
            EXPORTED.map(|timer| {
                let backend = names.of_backend(sample.backend).to_string();
                let server = names.of_server(server).to_string();
                metrics.latency.get_or_create_owned(&ServerTimer { backend, server, timer: timer.name() })
            })
        });
        for (timer, histogram) in EXPORTED.into_iter().zip(histograms) {
            if let Some(ms) = sample.timers.get(timer) {
                histogram.observe(f64::from(ms) / 1e3);
            }
        }
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Success => "success",
        Class::Server => "server",
        Class::Saturation => "saturation",
        Class::Client => "client",
        Class::Proxy => "proxy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_in_the_text_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.count_lines(&LineCounts {
            lines: 7,
            requests: 4,
            messages: 2,
            unparsed: 1,
            ..LineCounts::default()
        });
        let text = metrics.encode();
        assert!(text.contains("haproxy_autoscale_log_lines_total{kind=\"request\"} 4\n"), "{text}");
        assert!(text.contains("haproxy_autoscale_log_lines_total{kind=\"unparsed\"} 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_file_that_is_wrong_is_a_one_until_it_is_right() {
        let metrics = Metrics::default();
        let trouble = PoolTrouble {
            since: jiff::Timestamp::UNIX_EPOCH,
            error: String::new(),
            remedy: "",
            addresses: 0,
        };
        metrics.show_files(true, [("app", Some(&trouble)), ("api", None)].into_iter());
        let text = metrics.encode();
        assert!(text.contains("haproxy_autoscale_config_refused 1\n"), "{text}");
        assert!(text.contains("haproxy_autoscale_pool_not_read{backend=\"app\"} 1\n"), "{text}");
        assert!(text.contains("haproxy_autoscale_pool_not_read{backend=\"api\"} 0\n"), "{text}");
        metrics.show_files(false, std::iter::empty());
        let text = metrics.encode();
        assert!(
            text.contains("haproxy_autoscale_config_refused 0\n") && !text.contains("pool_not_read{"),
            "{text}"
        );
    }
}
