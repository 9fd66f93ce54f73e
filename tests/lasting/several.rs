//! Two HAProxys on one machine, each with its own configuration, and what is kept for each.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::site::{As, LOADED, SLOTS, Site, findings, metrics, of_node, status_text, told};
use super::support::{Agent, PATIENCE, wait_until};

/// Both before the same servers: s1 READY, and two spares.
pub(super) struct Pair {
    pub(super) a: Site,
    pub(super) b: Site,
}

impl Pair {
    /// With this in `global` and `defaults` of both; the second one is run so.
    fn start(run: As, (global, defaults): (&str, &str)) -> Option<Self> {
        let a = Site::start(As::Master, global, defaults)?;
        let b = a.twin(run);
        Some(Self { a, b })
    }

    /// With these `lines` of the backend, and spares of a pool.
    pub(super) fn with_pool(lines: &str, spares: &str) -> Option<Self> {
        let a = Site::with_pool(lines, spares, ("", ""))?;
        let b = a.twin(As::Master);
        Some(Self { a, b })
    }

    pub(super) fn config(&self, keys: [&str; 2]) -> String {
        let socket = |(site, keys): (&Site, &str)| {
            let dir = site.dir.path().display().to_string();
            let keys = keys.replace("{dir}", &dir);
            format!(
                "    - {{ address: {dir}/admin.sock, config: {dir}/haproxy.cfg, state_file: {dir}/servers.state, \
                 template: {dir}/haproxy.cfg.template, {keys} }}\n"
            )
        };
        let alone = format!("  sockets: [{}/admin.sock]\n", self.a.dir.path().display());
        let both: String = [&self.a, &self.b].into_iter().zip(keys).map(socket).collect();
        let config = self.a.config("");
        assert!(config.contains(&alone), "{config}");
        config.replace(&alone, &format!("  sockets:\n{both}"))
    }

    /// The agent, with these keys for each.
    pub(super) fn agent(&self, keys: [&str; 2]) -> Agent {
        let agent = Agent::start(&self.config(keys), &[&self.a.log(), &self.b.log()]);
        wait_until("both are in line", PATIENCE, || self.are_in_line(&agent));
        agent
    }

    fn are_in_line(&self, agent: &Agent) -> bool {
        let status = agent.status().unwrap_or_default();
        (0..2).all(|node| status["haproxy"]["nodes"][node]["standing"] == "in line")
    }

    #[track_caller]
    fn wait_for(&self, expected: [&str; 3]) {
        self.a.wait_for(expected);
        self.b.wait_for(expected);
    }
}

/// How the pool's name of a HAProxy reads.
fn socket(site: &Site) -> String {
    format!("{}/admin.sock", site.dir.path().display())
}

/// Ends HAProxy and starts it with what it finds; its servers then.
fn restarted(site: &mut Site) -> Vec<String> {
    site.end();
    site.launch();
    site.servers()
}

/// What a start would make of `server`, whose line ends so in haproxy.cfg: its state and weight, as its file has them.
fn written(site: &Site, keep: &str, server: usize) -> String {
    let name = format!(" s{server} ");
    if keep == "state_file" {
        let text = fs::read_to_string(site.path("servers.state")).unwrap_or_default();
        let row = text.lines().find(|line| line.contains(&name)).unwrap_or_default();
        return row.split(' ').skip(5).take(3).collect::<Vec<_>>().join(" ");
    }
    let text = site.cfg_text();
    let line = text.lines().find(|line| line.contains(&format!("server{name}"))).unwrap_or_default();
    line.split_once(" weight ").map_or("", |(_, end)| end).to_owned()
}

/// READY, of a server that was declared `disabled`, with this weight.
fn in_service(keep: &str, weight: u32) -> String {
    if keep == "state_file" { format!("2 4 {weight}") } else { weight.to_string() }
}

/// What was changed is there after the restart of each, before the agent does anything, and the other one is as it was.
#[track_caller]
fn check_each_lasts(keeps: [&str; 2]) {
    let Some(mut pair) = Pair::start(As::Master, LOADED) else { return };
    [&pair.a, &pair.b].iter().for_each(|site| site.template(""));
    let keys = keeps.map(|keep| format!("keep: {keep}"));
    let agent = pair.agent([&keys[0], &keys[1]]);
    agent.pin(2);
    pair.wait_for(["s1 READY 10", "s2 READY 10", "s3 MAINT 10"]);
    for site in [&pair.a, &pair.b] {
        site.ask("set server app/s2 weight 70");
    }
    for (site, keep) in [&pair.a, &pair.b].into_iter().zip(keeps) {
        let expected = in_service(keep, 70);
        wait_until(&format!("{keep}: it is written down"), PATIENCE, || written(site, keep, 2) == expected);
    }
    let expected = ["s1 READY 10", "s2 READY 70", "s3 MAINT 10"];
    agent.suspended(|| {
        let pid = pair.a.pid();
        assert_eq!(restarted(&mut pair.b), expected, "{}", keeps[1]);
        assert_eq!((pair.a.pid(), pair.a.servers()), (pid, expected.map(str::to_owned).to_vec()));
        let pid = pair.b.pid();
        assert_eq!(restarted(&mut pair.a), expected, "{}", keeps[0]);
        assert_eq!(pair.b.pid(), pid);
    });
    // Each reaches the servers in its own way.
    assert!(!pair.a.cfg_text().contains("127.0.0.2:") && !pair.b.cfg_text().contains("server s2 127.0.0.1:"));
    wait_until("both are in line again", PATIENCE, || pair.are_in_line(&agent));
    pair.wait_for(expected);
}

#[test]
fn a_state_file_and_a_block_keep_what_each_has() {
    check_each_lasts(["state_file", "block"]);
}

#[test]
fn a_template_and_a_state_file_keep_what_each_has() {
    check_each_lasts(["template", "state_file"]);
}

/// What is changed while one of them is away is what it starts with.
#[track_caller]
fn check_away(keep: &str) {
    let Some(mut pair) = Pair::start(As::Master, LOADED) else { return };
    pair.b.template("");
    let agent = pair.agent(["keep: none", &format!("keep: {keep}")]);
    agent.pin(2);
    pair.wait_for(["s1 READY 10", "s2 READY 10", "s3 MAINT 10"]);
    wait_until("it is written down", PATIENCE, || written(&pair.b, keep, 2) == in_service(keep, 10));
    pair.b.end();
    agent.pin(3);
    pair.a.wait_for(["s1 READY 10", "s2 READY 10", "s3 READY 10"]);
    wait_until("that is written down too", PATIENCE, || written(&pair.b, keep, 3) == in_service(keep, 10));
    agent.suspended(|| {
        pair.b.launch();
        assert_eq!(pair.b.servers(), ["s1 READY 10", "s2 READY 10", "s3 READY 10"]);
    });
    wait_until("it is in line again", PATIENCE, || pair.are_in_line(&agent));
    // Nothing is written for the other.
    assert!(!pair.a.path("servers.state").exists() && pair.a.cfg_text().contains(" disabled"));
}

#[test]
fn a_state_file_of_one_that_is_away_says_what_the_others_have() {
    check_away("state_file");
}

#[test]
fn a_block_of_one_that_is_away_says_what_the_others_have() {
    check_away("block");
}

#[test]
fn a_template_of_one_that_is_away_says_what_the_others_have() {
    check_away("template");
}

#[test]
fn a_slot_keeps_its_address_on_each() {
    let Some(mut pair) = Pair::with_pool(SLOTS, "kind: slots") else { return };
    let agent = pair.agent(["keep: block", "keep: block"]);
    agent.pin(2);
    pair.wait_for(["s1 READY 10", "slot1 READY 10", "slot2 MAINT 10"]);
    let filled = format!("server slot1 127.0.0.1:{} weight 10\n", pair.a.servers[1].port());
    wait_until("both have it", PATIENCE, || {
        [&pair.a, &pair.b].iter().all(|site| site.cfg_text().contains(&filled))
    });
    agent.suspended(|| {
        assert_eq!(restarted(&mut pair.b), ["s1 READY 10", "slot1 READY 10", "slot2 MAINT 10"]);
    });
}

const RELOADED: &str = "keep: template, reload: { by: master, socket: {dir}/master.sock, min_interval: 1s }";

/// The events about this HAProxy with one of these messages.
fn told_of(agent: &Agent, messages: &[&str], site: &Site) -> Vec<Value> {
    let socket = socket(site);
    let is_it = |event: &Value| {
        event["node"] == socket
            && event["message"].as_str().is_some_and(|message| messages.contains(&message))
    };
    agent.events().into_iter().filter(is_it).collect()
}

fn time(event: &Value) -> Timestamp {
    event["timestamp"].as_str().unwrap().parse().unwrap()
}

#[test]
fn another_template_reloads_one_after_the_other() {
    let Some(pair) = Pair::start(As::Master, ("", "")) else { return };
    [&pair.a, &pair.b].iter().for_each(|site| site.template(""));
    let agent = pair.agent([RELOADED, RELOADED]);
    let both = [&pair.a, &pair.b];
    let have_told = |message| both.iter().all(|site| !told_of(&agent, &[message], site).is_empty());
    wait_until("the first ones are written", PATIENCE, || have_told("haproxy.cfg written"));
    let changed = Timestamp::now();
    both.iter().for_each(|site| site.template("    http-response set-header x y\n"));
    wait_until("both are reloaded", PATIENCE, || have_told("haproxy reloaded"));
    let reloaded = both.map(|site| told_of(&agent, &["haproxy reloaded"], site).remove(0));
    let (first, second) = if time(&reloaded[0]) < time(&reloaded[1]) { (0, 1) } else { (1, 0) };
    let took = SignedDuration::from_millis(reloaded[second]["elapsed_ms"].as_i64().unwrap());
    // At once; where the old process was seen as it stopped, step by step; and where none answered for a moment.
    let in_line = [
        "this haproxy was restarted, and is in line",
        "this haproxy is in line again",
        "this haproxy answers again, and is in line",
    ];
    let seen = told_of(&agent, &in_line, both[first]);
    let is_between = |event: &Value| changed < time(event) && time(event) <= time(&reloaded[second]) - took;
    assert!(seen.iter().any(is_between), "{seen:?}, {reloaded:?}");
    assert!(both.iter().all(|site| site.cfg_text().contains("x y")));
    // All that is told of it names whose it is.
    for (node, site) in both.into_iter().enumerate() {
        let is_its_own =
            |entry: &Value| entry["event"] == "haproxy_reloaded" && entry["node"] == socket(site);
        wait_until("it is journaled", PATIENCE, || agent.journal().iter().any(is_its_own));
        let status = agent.status().unwrap();
        let shown = &status["haproxy"]["nodes"][node];
        assert_eq!(shown["socket"], socket(site));
        site.check_pid(&shown["lasting"]["reload"]["last"]["pid"]);
        let text = status_text(&agent);
        assert!(
            text.contains(&format!("changes of {}: kept in {}", socket(site), site.cfg().display())),
            "{text}"
        );
        let reloads = of_node(site, "haproxy_reloads_total", ",by=\"master\",result=\"done\"", "1");
        assert!(metrics(&pair.a).contains(&reloads), "{}", metrics(&pair.a));
    }
}

#[test]
fn none_is_reloaded_while_another_one_is_away() {
    let Some(mut pair) = Pair::start(As::Master, ("", "")) else { return };
    pair.a.template("");
    let agent = pair.agent([RELOADED, "keep: none"]);
    wait_until("it is written", PATIENCE, || agent.event("haproxy.cfg written").is_some());
    pair.b.end();
    wait_until("that is seen", PATIENCE, || {
        agent.status().unwrap_or_default()["haproxy"]["nodes"][1]["standing"] == "does not answer"
    });
    let pid = pair.a.pid();
    pair.a.template("    http-response set-header x y\n");
    wait_until("the reload waits for it", PATIENCE, || {
        let waits = agent.event("reload of haproxy waits");
        waits.is_some_and(|waits| {
            waits["reason"].as_str().unwrap().starts_with(&format!("`{}`", socket(&pair.b)))
        })
    });
    wait_until("that is journaled", PATIENCE, || agent.has_journaled("event", "haproxy_reload_waits"));
    assert!(pair.a.cfg_text().contains("x y"));
    assert_eq!(pair.a.pid(), pid);
    pair.b.launch();
    assert_eq!(told(&agent, "haproxy reloaded")["before"], pid);
}

#[test]
fn one_is_started_and_the_other_is_left_alone() {
    let Some(mut pair) = Pair::start(As::Daemon, LOADED) else { return };
    let started = "start: true, reload: { by: binary, pid_file: {dir}/haproxy.pid, min_interval: 1s }";
    let agent = pair.agent(["keep: state_file", started]);
    let pid = pair.a.pid();
    pair.b.end();
    let started = told(&agent, "haproxy started");
    assert_eq!(started["node"], socket(&pair.b));
    pair.b.check_pid(&started["pid"]);
    assert_eq!(pair.a.pid(), pid);
    let shown = agent.status().unwrap()["haproxy"]["nodes"].clone();
    assert_eq!(
        (&shown[1]["lasting"]["start"]["done"], &shown[0]["lasting"]["start"]),
        (&true.into(), &Value::Null)
    );
    // Nobody starts the other one.
    pair.a.end();
    wait_until("it is away", PATIENCE, || !pair.are_in_line(&agent));
    let text = status_text(&agent);
    assert!(text.contains(&format!("process of {}:\n  HAProxy started ", socket(&pair.b))), "{text}");
    pair.a.launch();
}

#[test]
fn check_tells_of_which_it_finds_it() {
    let Some(mut pair) = Pair::start(As::Master, LOADED) else { return };
    let found = |pair: &Pair, keys| {
        let findings = findings(&pair.a, &pair.config(keys));
        let words = |one: &Value| {
            format!(
                "{}: {}: {}",
                one["grade"].as_str().unwrap(),
                one["about"].as_str().unwrap(),
                one["found"].as_str().unwrap()
            )
        };
        let words = findings.iter().map(words);
        let dir = |site: &Site| site.dir.path().display().to_string();
        words.map(|words| words.replace(&dir(&pair.a), "A").replace(&dir(&pair.b), "B")).collect::<Vec<_>>()
    };
    let keys = ["keep: state_file", "keep: block, reload: { by: master, socket: {dir}/master.sock }"];
    let of_a = [
        "ok: haproxy.keep state_file of A/admin.sock: `A/servers.state` can be written",
        "ok: haproxy.keep state_file of A/admin.sock: backend app loads the state file",
    ];
    assert_eq!(
        found(&pair, keys),
        [
            &of_a[..],
            &[
                "ok: haproxy.keep block of B/admin.sock: backend app has its block",
                "ok: haproxy.keep block of B/admin.sock: `B/haproxy.cfg` can be written",
                "ok: haproxy.keep block of B/admin.sock: HAProxy takes `B/haproxy.cfg` from this user",
                "ok: haproxy.reload master of B/admin.sock: by the master, which answers at `B/master.sock`",
            ]
        ]
        .concat()
    );
    // What would be written for one that is away.
    pair.b.end();
    pair.a.ask("set server app/s2 state ready");
    let found = found(&pair, keys);
    assert_eq!(found[..2], of_a);
    let port = pair.a.servers[1].port();
    assert!(found[4].contains("would be written to `B/haproxy.cfg`"), "{found:?}");
    assert!(found[4].ends_with(&format!(" + server s2 127.0.0.2:{port} weight 10")), "{found:?}");
}
