//! Spares that come from a pool, slots and servers that are added: every node has them, loses them by itself, and gets
//! them again by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::site::{BEHIND, Node, Site, absences, count, stands};
use super::support::{Agent, Haproxy, Origin, PATIENCE, free_port, wait_until};

/// The kind of spare.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Slots,
    Dynamic,
}

/// Up and down by one check.
const QUICK: &str = "inter 100ms rise 1 fall 1";

/// Two HAProxys with s1, and a pool of servers outside of them.
struct Pooled {
    site: Site,
    kind: Kind,
    /// How what comes from the pool is checked.
    check: &'static str,
    pool: Vec<Origin>,
}

/// The servers that come from the pool, with their states and addresses.
type Places = BTreeMap<String, String>;

impl Pooled {
    /// `None` if there is no HAProxy, or none that takes servers of this kind.
    fn start(kind: Kind, pool: usize) -> Option<Self> {
        Self::start_with(kind, pool, 3, QUICK)
    }

    fn start_with(kind: Kind, pool: usize, slots: usize, check: &'static str) -> Option<Self> {
        let slots = format!("server-template t {slots} 127.0.0.1:1 check {check} disabled");
        let lines = ["balance roundrobin", "server s1 {s1} check inter 100ms", &slots];
        let site = match kind {
            Kind::Slots => Site::start_with(&lines),
            Kind::Dynamic if Haproxy::version()? < vec![2, 6] => None,
            Kind::Dynamic => Site::start_with(&lines[..2]),
        }?;
        Some(Self { site, kind, check, pool: (0..pool).map(|_| Origin::start()).collect() })
    }

    fn addresses(&self) -> Vec<String> {
        self.pool.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect()
    }

    /// The agent, with these addresses in its pool.
    fn agent(&self, pool: &[String]) -> Agent {
        self.site.agent(&self.keys(&format!("[{}]", pool.join(", "))))
    }

    fn keys(&self, pool: &str) -> String {
        let kind = match self.kind {
            Kind::Slots => "kind: slots".to_owned(),
            Kind::Dynamic => {
                format!("kind: dynamic, default_server: check {} maxconn 50 weight 7", self.check)
            }
        };
        format!("servers: {{ s1: {{ always_up: true }} }}\nspares: {{ {kind}, pool: {pool} }}")
    }

    fn node(&self, node: usize) -> &Node {
        &self.site.nodes[node]
    }

    /// Waits until so many of the pool serve on `node`, and returns all that it has of it.
    #[track_caller]
    fn wait_for_ready(&self, node: usize, count: usize) -> Places {
        wait_until(&format!("{count} of the pool serve on node {node}"), PATIENCE, || {
            ready(self.node(node)) == count
        });
        places(self.node(node))
    }

    /// Waits until both have the same, so many of them READY.
    #[track_caller]
    fn wait_for_both(&self, count: usize) -> Places {
        wait_until(&format!("{count} of the pool serve on both"), PATIENCE, || {
            let [one, other] = [0, 1].map(|node| places(self.node(node)));
            one == other && one.values().filter(|is| is.starts_with("READY ")).count() == count
        });
        places(self.node(0))
    }

    /// Waits until the last of the pool has gone from `node`: its servers are deleted, or in MAINT with their addresses.
    #[track_caller]
    fn wait_until_gone(&self, node: usize) {
        wait_until(&format!("the pool has gone from node {node}"), PATIENCE, || {
            let places = places(self.node(node));
            match self.kind {
                Kind::Slots => places.values().all(|is| is.starts_with("MAINT ")),
                Kind::Dynamic => places.is_empty(),
            }
        });
    }

    #[track_caller]
    fn wait_until_stands(&self, agent: &Agent, node: usize, standing: &str) {
        wait_until(&format!("node {node} is {standing}"), PATIENCE, || stands(agent, node) == standing);
    }

    /// What is added has what its keywords say, and is checked.
    fn check_keywords(&self) {
        for node in self.site.nodes.iter().filter(|_| self.kind == Kind::Dynamic) {
            let stat = node.haproxy.ask("show stat app 4 -1");
            let rows: Vec<_> = stat.lines().filter(|line| line.contains(",dyn-")).collect();
            assert!(rows.iter().all(|row| row.contains("L4OK,")), "{stat}");
            assert!(rows.iter().all(|row| row.split(',').nth(6) == Some("50")), "{stat}");
            assert!(node.servers().iter().all(|(name, is)| name == "s1" || is.ends_with(" 7")), "{stat}");
        }
    }
}

/// What `node` has of the pool.
fn places(node: &Node) -> Places {
    let mut places = node.places();
    places.remove("s1");
    places
}

fn ready(node: &Node) -> usize {
    places(node).values().filter(|is| is.starts_with("READY ")).count()
}

/// Moves that were decided on.
fn moves(agent: &Agent) -> usize {
    let is_move = |entry: &&Value| entry["decision"] == "scale_up" || entry["decision"] == "scale_down";
    agent.journal().iter().filter(is_move).count()
}

#[track_caller]
fn nothing_failed(agent: &Agent) {
    let journal = agent.journal();
    assert!(journal.iter().all(|entry| entry["error"].is_null()), "{journal:#?}");
}

/// On slots, and on added servers.
fn each(pool: usize, test: impl Fn(&mut Pooled)) {
    each_checked(pool, QUICK, test);
}

/// The same, where they are checked so.
fn each_checked(pool: usize, check: &'static str, test: impl Fn(&mut Pooled)) {
    for kind in [Kind::Slots, Kind::Dynamic] {
        if let Some(mut pooled) = Pooled::start_with(kind, pool, 3, check) {
            test(&mut pooled);
        }
    }
}

#[test]
fn what_the_pool_has_serves_on_all_and_goes_from_all() {
    each(2, |pooled| {
        let agent = pooled.agent(&pooled.addresses());
        agent.pin(3);
        let both = pooled.wait_for_both(2);
        let found: Vec<_> = both.values().filter_map(|is| is.strip_prefix("READY ")).collect();
        assert!(pooled.addresses().iter().all(|address| found.contains(&address.as_str())), "{both:?}");
        wait_until("they are shown as one", PATIENCE, || {
            let app = agent.backend();
            app["serving"] == 3 && app["moving"].is_null()
        });
        pooled.check_keywords();
        agent.pin(1);
        (0..2).for_each(|node| pooled.wait_until_gone(node));
        agent.pin(2);
        pooled.wait_for_both(1);
        nothing_failed(&agent);
    });
}

#[test]
fn one_that_is_reloaded_gets_again_what_it_has_lost() {
    for reloaded in 0..2 {
        each(2, |pooled| {
            let agent = pooled.agent(&pooled.addresses());
            agent.pin(3);
            let before = pooled.wait_for_both(2);
            wait_until("the move is over", PATIENCE, || agent.is_still());
            let (moved, away) = (moves(&agent), absences(&agent));
            pooled.site.nodes[reloaded].haproxy.reload();
            wait_until("it has them again", PATIENCE, || {
                assert_eq!(places(pooled.node(1 - reloaded)), before, "the other one goes on");
                places(pooled.node(reloaded)) == before
            });
            pooled.wait_until_stands(&agent, reloaded, "in line");
            pooled.check_keywords();
            // No plan had a part in it.
            assert!(moves(&agent) == moved || absences(&agent) > away, "{:#?}", agent.journal());
            assert!(agent.journal().iter().all(|entry| entry["event"] != "haproxy_restarted"));
            nothing_failed(&agent);
            agent.pin(1);
            (0..2).for_each(|node| pooled.wait_until_gone(node));
        });
    }
}

#[test]
fn all_that_are_reloaded_together_get_it_again() {
    each(2, |pooled| {
        let agent = pooled.agent(&pooled.addresses());
        agent.pin(3);
        let before = pooled.wait_for_both(2);
        for node in &mut pooled.site.nodes {
            node.haproxy.reload();
        }
        assert_eq!(pooled.wait_for_both(2), before);
        (0..2).for_each(|node| pooled.wait_until_stands(&agent, node, "in line"));
    });
}

#[test]
fn one_that_is_reloaded_before_the_other_is_in_line_again_begins_no_move() {
    for first in 0..2 {
        each_checked(3, "inter 2s rise 2", |pooled| {
            let agent = pooled.agent(&pooled.addresses());
            agent.pin(3);
            let before = pooled.wait_for_both(2);
            wait_until("the move is over", PATIENCE, || agent.is_still());
            let (moved, away) = (moves(&agent), absences(&agent));
            let behind = count(&agent, BEHIND);
            pooled.site.nodes[first].haproxy.reload();
            wait_until("it is seen behind", PATIENCE, || count(&agent, BEHIND) > behind);
            // Its servers have to pass two checks before it is in line: it is not, most likely.
            pooled.site.nodes[1 - first].haproxy.reload();
            assert_eq!(pooled.wait_for_both(2), before);
            (0..2).for_each(|node| pooled.wait_until_stands(&agent, node, "in line"));
            assert!(moves(&agent) == moved || absences(&agent) > away, "{:#?}", agent.journal());
            nothing_failed(&agent);
        });
    }
}

#[test]
fn one_that_was_killed_gets_what_has_come_meanwhile() {
    for killed in 0..2 {
        each(2, |pooled| {
            let agent = pooled.agent(&pooled.addresses());
            agent.pin(2);
            pooled.wait_for_both(1);
            pooled.site.nodes[killed].haproxy.kill();
            pooled.wait_until_stands(&agent, killed, "does not answer");
            agent.pin(3);
            let other = pooled.wait_for_ready(1 - killed, 2);
            pooled.site.nodes[killed].haproxy.start_again();
            assert_eq!(pooled.wait_for_both(2), other);
            pooled.wait_until_stands(&agent, killed, "in line");
            pooled.check_keywords();
            nothing_failed(&agent);
        });
    }
}

#[test]
fn one_that_hangs_lets_go_of_what_has_gone_meanwhile() {
    each(2, |pooled| {
        let agent = pooled.agent(&pooled.addresses());
        agent.pin(3);
        pooled.wait_for_both(2);
        pooled.node(0).haproxy.hang();
        pooled.wait_until_stands(&agent, 0, "does not answer");
        agent.pin(1);
        pooled.wait_until_gone(1);
        pooled.node(0).haproxy.go_on();
        pooled.wait_until_gone(0);
        pooled.wait_until_stands(&agent, 0, "in line");
        agent.pin(3);
        pooled.wait_for_both(2);
        nothing_failed(&agent);
    });
}

#[test]
fn one_that_is_reloaded_in_the_middle_of_a_start_takes_part_in_it() {
    for reloaded in 0..2 {
        each(0, |pooled| {
            let late = format!("127.0.0.1:{}", free_port());
            let agent = pooled.agent(std::slice::from_ref(&late));
            agent.pin(2);
            let drains = format!("DRAIN {late}");
            let is_waiting = |node: &Node| places(node).values().any(|is| *is == drains);
            wait_until("both wait for its check", PATIENCE, || pooled.site.nodes.iter().all(is_waiting));
            pooled.site.nodes[reloaded].haproxy.reload();
            wait_until("both wait again", PATIENCE, || pooled.site.nodes.iter().all(is_waiting));
            let port = late.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
            let _late = Origin::start_on(port);
            pooled.wait_for_both(1);
            pooled.wait_until_stands(&agent, reloaded, "in line");
            nothing_failed(&agent);
        });
    }
}

#[test]
fn what_would_come_out_other_than_asked_is_not_added_to_one_that_is_back_and_told() {
    let Some(mut pooled) = Pooled::start(Kind::Dynamic, 1) else { return };
    let agent = pooled.agent(&pooled.addresses());
    agent.pin(2);
    pooled.wait_for_both(1);
    wait_until("the move is over", PATIENCE, || agent.is_still());
    pooled.site.nodes[0].haproxy.kill();
    pooled.wait_until_stands(&agent, 0, "does not answer");
    let config = fs::read_to_string(agent.config()).expect("its config");
    fs::write(agent.config(), config.replace("maxconn 50", "maxconn $M")).expect("ours");
    agent.signal(Signal::SIGHUP);
    wait_until("the config is read", PATIENCE, || agent.event("config reloaded").is_some());
    pooled.site.nodes[0].haproxy.start_again();
    wait_until("it is told", PATIENCE, || {
        let refused = agent.status().unwrap_or_default()["haproxy"]["nodes"][0]["refused"].to_string();
        refused.contains("HAProxy would take `maxconn $M` for another number")
    });
    assert!(places(pooled.node(0)).is_empty(), "{:?}", places(pooled.node(0)));
    assert_eq!(ready(pooled.node(1)), 1);
}

#[test]
fn what_an_agent_before_has_added_to_one_that_hangs_is_known_to_the_next() {
    let Some(pooled) = Pooled::start(Kind::Dynamic, 1) else { return };
    let keys = pooled.keys(&format!("[{{ address: '{}', name: extra }}]", pooled.addresses()[0]));
    let agent = pooled.site.agent(&keys);
    agent.pin(2);
    pooled.wait_for_both(1);
    pooled.node(0).haproxy.hang();
    pooled.wait_until_stands(&agent, 0, "does not answer");
    agent.pin(1);
    pooled.wait_until_gone(1);
    wait_until("the move is over", PATIENCE, || agent.is_still());
    let left = agent.into_dir().expect("a temporary folder");
    let agent = pooled.site.agent_in(left, &keys);
    pooled.wait_until_stands(&agent, 0, "does not answer");
    pooled.node(0).haproxy.go_on();
    pooled.wait_until_gone(0);
    pooled.wait_until_stands(&agent, 0, "in line");
}

#[test]
fn a_slot_that_has_got_another_address_meanwhile_gets_it_on_one_that_hung() {
    let Some(pooled) = Pooled::start_with(Kind::Slots, 2, 1, QUICK) else { return };
    let file: PathBuf = pooled.node(1).haproxy.dir().join("app.pool");
    let offer = |n: usize| fs::write(&file, format!("{}\n", pooled.addresses()[n])).expect("ours");
    offer(0);
    let agent = pooled.site.agent(&pooled.keys(&format!("{{ file: {} }}", file.display())));
    agent.pin(2);
    pooled.wait_for_both(1);
    pooled.node(0).haproxy.hang();
    pooled.wait_until_stands(&agent, 0, "does not answer");
    agent.pin(1);
    wait_until("it is out of service", PATIENCE, || places(pooled.node(1))["t1"].starts_with("MAINT "));
    offer(1);
    agent.pin(2);
    let moved = format!("READY {}", pooled.addresses()[1]);
    wait_until("it serves elsewhere", PATIENCE, || places(pooled.node(1))["t1"] == moved);
    pooled.node(0).haproxy.go_on();
    wait_until("it does there too", PATIENCE, || places(pooled.node(0))["t1"] == moved);
    pooled.wait_until_stands(&agent, 0, "in line");
}

#[test]
fn a_slot_that_is_sent_elsewhere_by_hand_on_one_is_left_alone() {
    let Some(pooled) = Pooled::start(Kind::Slots, 2) else { return };
    let agent = pooled.agent(&pooled.addresses());
    agent.pin(2);
    let both = pooled.wait_for_both(1);
    let slot = both.iter().find(|(_, is)| is.starts_with("READY ")).expect("one serves").0.clone();
    let elsewhere = format!("127.0.0.1:{}", pooled.site.servers[0].port());
    let port = pooled.site.servers[0].port();
    pooled.node(0).haproxy.ask(&format!("set server app/{slot} addr 127.0.0.1 port {port}"));
    wait_until("another slot takes its place", PATIENCE, || {
        let serving = |node| {
            let places = places(pooled.node(node));
            places.iter().filter(|(name, is)| **name != slot && is.starts_with("READY ")).count()
        };
        serving(0) == 1 && serving(1) == 1
    });
    assert_eq!(places(pooled.node(0))[&slot], format!("READY {elsewhere}"));
}
