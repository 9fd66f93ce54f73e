//! Dynamic servers: added to HAProxy when they are needed, and deleted again.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use super::site::{Site, checked, list, sees_well};
use super::support::{Haproxy, Origin, PATIENCE, ask, free_port, wait_until};

const LINES: [&str; 2] = ["balance roundrobin", "server s1 {s1} check inter 100ms"];

const CHECKED: &str = "default_server: check inter 100ms rise 1 fall 1 maxconn 50";

/// The site, where HAProxy takes servers at run time.
fn start(pool: usize, lines: &[&str]) -> Option<Site> {
    let has_add = Haproxy::version()? >= vec![2, 6];
    if has_add { Site::start(pool, lines) } else { None }
}

fn dynamic(site: &Site) -> String {
    format!("kind: dynamic, {CHECKED}, {}", list(&site.addresses()))
}

fn name(address: &str) -> String {
    format!("dyn-{}", address.replace(':', "-"))
}

#[test]
fn a_server_is_added_checked_serves_and_is_deleted_again() {
    let Some(site) = start(2, &LINES) else { return };
    let agent = site.agent(&dynamic(&site));
    assert_eq!(agent.backend()["spare"], 2);
    assert_eq!(site.servers().len(), 1, "nothing is added before it is needed");
    agent.pin(3);
    let added = site.wait_for_ready(2);
    for address in site.addresses() {
        assert_eq!(added.get(&name(&address)), Some(&address));
    }
    let stat = site.haproxy.ask("show stat app 4 -1");
    assert!(stat.lines().filter(|line| line.contains(",dyn-")).all(|line| line.contains("L4OK,")), "{stat}");
    let limits = stat.lines().filter(|line| line.contains(",dyn-")).map(|line| line.split(',').nth(6));
    assert!(limits.eq([Some("50"), Some("50")]), "its maxconn is the one of its keywords");
    site.all_answered(12);
    assert!(site.pool.iter().all(|server| server.requests() > 0), "requests reach both");
    agent.pin(1);
    wait_until("they are deleted", PATIENCE, || site.servers().len() == 1);
    agent.pin(2);
    site.wait_for_ready(1);
    site.all_answered(4);
}

#[test]
fn a_server_is_added_with_haproxys_slowstart_and_no_ramp_of_the_agents() {
    let Some(site) = start(1, &LINES) else { return };
    let spares = dynamic(&site).replace("check inter", "slowstart 10s check inter");
    let agent = site.agent(&format!("{spares} }}\n    warm_up: {{ ramp: 10m"));
    agent.pin(2);
    let server = name(&site.addresses()[0]);
    wait_until("it is in its slowstart", PATIENCE, || {
        let servers = agent.backend()["servers"].clone();
        let servers = servers.as_array().cloned().unwrap_or_default();
        servers.iter().any(|it| it["server"] == server && it["throttle_percent"].is_u64())
    });
    let weights = || site.haproxy.servers("app", |row| row[7].to_owned());
    assert_eq!(
        weights(),
        [("s1", "READY 1"), (&server, "READY 1")].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
    );
    wait_until("it is through with it", PATIENCE, || agent.has_journaled("event", "serving"));
    assert_eq!(weights()[&server], "READY 1");
}

#[test]
fn an_added_server_takes_the_place_of_one_that_is_down() {
    let lines =
        ["balance roundrobin", "option httpchk GET /", "server s1 {s1} check inter 100ms fall 2 rise 1"];
    let Some(site) = start(3, &lines) else { return };
    let agent = site.agent(&dynamic(&site));
    wait_until("it has seen s1 serve", PATIENCE, || agent.backend()["serving"] == 1);
    agent.pin(2);
    let added = site.wait_for_ready(1);
    assert!(agent.command(&["resume", "app"]).status.success());
    sees_well(&agent, &added);
    let first =
        site.pool.iter().find(|server| added.values().any(|it| it.ends_with(&format!(":{}", server.port()))));
    first.expect("it is of the pool").set_status(503);
    let now = site.wait_for_ready(2);
    let other = now.keys().find(|name| !added.contains_key(*name)).expect("there are two");
    let reason =
        format!("{} is DOWN by its check: {other} takes its place", added.keys().next().expect("one"));
    assert!(agent.journal_says("reason", reason.as_str()), "{:#?}", agent.journal());
}

#[test]
fn a_reload_takes_added_servers_away_and_they_are_added_again() {
    let Some(mut site) = start(2, &LINES) else { return };
    let agent = site.agent(&dynamic(&site));
    agent.pin(3);
    let added = site.wait_for_ready(2);
    site.haproxy.reload();
    assert_eq!(site.wait_for_ready(2), added);
    wait_until("the agent has seen it", PATIENCE, || agent.backend()["serving"] == 3);
}

/// The site's socket by another way, on which somebody else adds each server first, at its address or at `instead`.
fn with_somebody_quicker(site: &Site, instead: Option<&str>) -> PathBuf {
    let (way, socket) = (site.haproxy.dir().join("way.sock"), site.haproxy.socket());
    let (listener, instead) =
        (UnixListener::bind(&way).expect("the folder is ours"), instead.map(str::to_owned));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (socket, instead) = (socket.clone(), instead.clone());
            thread::spawn(move || pass_on(stream, &socket, instead.as_deref()));
        }
    });
    way
}

/// One conversation, until either side ends it.
fn pass_on(mut agent: UnixStream, socket: &Path, instead: Option<&str>) -> std::io::Result<()> {
    let mut haproxy = UnixStream::connect(socket)?;
    let (mut answers, mut to_agent) = (haproxy.try_clone()?, agent.try_clone()?);
    thread::spawn(move || {
        let ended = std::io::copy(&mut answers, &mut to_agent);
        to_agent.shutdown(Shutdown::Both).and(ended)
    });
    let mut chunk = [0; 16384];
    loop {
        let read = agent.read(&mut chunk)?;
        let said = String::from_utf8_lossy(&chunk[..read]).into_owned();
        for part in
            said.split([';', '\n']).map(str::trim).filter(|part| part.starts_with("add server app/dyn-"))
        {
            let ours = part.split(' ').nth(3).unwrap_or_default();
            ask(socket, &part.replacen(&format!(" {ours}"), &format!(" {}", instead.unwrap_or(ours)), 1))?;
        }
        if read == 0 {
            return haproxy.shutdown(Shutdown::Write);
        }
        haproxy.write_all(&chunk[..read])?;
    }
}

#[test]
fn a_server_that_somebody_else_adds_at_the_same_moment_is_taken_as_it_is() {
    let Some(site) = start(1, &LINES) else { return };
    let way = with_somebody_quicker(&site, None);
    let agent = site.agent_at(&way, &dynamic(&site));
    agent.pin(2);
    site.wait_for_ready(1);
    wait_until("it is told", PATIENCE, || agent.has_journaled("event", "serving"));
    assert!(!agent.has_journaled("event", "failed"), "{:#?}", agent.journal());
    let stat = site.haproxy.ask("show stat app 4 -1");
    assert!(
        stat.lines().any(|line| line.contains(",dyn-") && line.contains("L4OK,")),
        "its checks are on: {stat}"
    );
}

#[test]
fn a_server_that_somebody_else_adds_at_another_address_is_theirs() {
    let Some(site) = start(1, &LINES) else { return };
    let theirs = "127.0.0.1:9";
    let way = with_somebody_quicker(&site, Some(theirs));
    let agent = site.agent_at(&way, &dynamic(&site));
    agent.pin(2);
    wait_until("it is told", PATIENCE, || agent.journal_says("error", "with another address"));
    site.wait_until_is(&name(&site.addresses()[0]), &format!("MAINT {theirs}"));
}

#[test]
fn a_reload_in_the_middle_of_a_start_is_made_good() {
    let Some(mut site) = start(0, &LINES) else { return };
    let dead = format!("127.0.0.1:{}", free_port());
    let agent = site.agent(&format!("kind: dynamic, {CHECKED}, {}", list(std::slice::from_ref(&dead))));
    agent.pin(2);
    site.wait_until_is(&name(&dead), &format!("DRAIN {dead}"));
    site.haproxy.reload();
    site.wait_until_is(&name(&dead), &format!("DRAIN {dead}"));
    let port: u16 = dead.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let _late = Origin::start_on(port);
    site.wait_for_ready(1);
    site.all_answered(4);
}

#[test]
fn what_an_agent_that_was_killed_has_added_is_known_and_tidied_away() {
    let Some(site) = start(0, &LINES) else { return };
    let dead = format!("127.0.0.1:{}", free_port());
    let spares = format!("kind: dynamic, {CHECKED}, {}", list(std::slice::from_ref(&dead)));
    let agent = site.agent(&spares);
    agent.pin(2);
    site.wait_until_is(&name(&dead), &format!("DRAIN {dead}"));
    let left = agent.into_dir().expect("a temporary folder");
    std::fs::write(left.path().join("state/journal.jsonl"), "").expect("ours");
    let state = left.path().join("state/state.json");
    let text = std::fs::read_to_string(&state).expect("it was kept");
    // Whoever pinned it has gone home.
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    value["backends"]["app"]["order"] = serde_json::Value::Null;
    std::fs::write(&state, value.to_string()).expect("ours");
    let _agent = site.agent_in(left, &spares);
    wait_until("it is deleted", PATIENCE, || site.servers().len() == 1);
}

#[test]
fn a_server_with_a_request_that_outlasts_its_drain_is_deleted_after_it() {
    let Some(site) = start(1, &LINES) else { return };
    let agent = site.agent(&dynamic(&site));
    agent.pin(2);
    site.wait_for_ready(1);
    let address = site.addresses()[0].clone();
    site.keep_busy(&site.pool[0]);
    agent.pin(1);
    site.wait_until_is(&name(&address), &format!("MAINT {address}"));
    // The request may go on for hours, and no move waits for it.
    wait_until("the move is over", PATIENCE, || agent.is_still());
    wait_until("it is told", PATIENCE, || {
        let servers = agent.backend()["servers"].as_array().cloned().unwrap_or_default();
        let doing = |it: &serde_json::Value| it["doing"].as_str().unwrap_or_default().to_owned();
        servers.iter().any(|it| doing(it).ends_with(" still open, until they end by themselves"))
    });
    site.pool[0].let_go();
    wait_until("it is deleted when the request is over", PATIENCE, || site.servers().len() == 1);
    let went_wrong = ["failed", "left_behind"].iter().any(|event| agent.has_journaled("event", *event));
    assert!(!went_wrong, "{:#?}", agent.journal());
}

#[test]
fn a_server_whose_sessions_are_closed_is_deleted_right_after() {
    let Some(site) = start(1, &LINES) else { return };
    let config = site.config(&dynamic(&site));
    let agent =
        site.agent_with(&config.replace("drain_timeout: 1s", "drain_timeout: 1s, shutdown_sessions: 1s"));
    agent.pin(2);
    site.wait_for_ready(1);
    site.keep_busy(&site.pool[0]);
    agent.pin(1);
    wait_until("it is deleted with a request on it", PATIENCE, || site.servers().len() == 1);
    assert!(agent.has_journaled("event", "sessions_closed"), "{:#?}", agent.journal());
}

#[test]
fn a_server_of_the_configuration_is_drained_but_never_deleted() {
    let Some(site) = start(1, &["balance roundrobin", LINES[1], "server s2 {s1} check inter 100ms"]) else {
        return;
    };
    let agent = site.agent(&dynamic(&site));
    agent.pin(3);
    wait_until("the pool is in", PATIENCE, || site.in_state("READY").len() == 2);
    agent.pin(1);
    // One may be gone while the other still drains.
    wait_until("both have gone", PATIENCE, || site.in_state("MAINT").len() == 1 && site.servers().len() == 2);
    assert!(site.servers()["s2"].starts_with("MAINT"));
    assert!(!agent.has_journaled("step", "delete app/s2"));
}

#[test]
fn a_backend_without_a_server_gets_some() {
    let Some(site) = start(2, &["balance roundrobin"]) else { return };
    let agent = site.agent(&dynamic(&site).replace("check inter 100ms rise 1 fall 1 maxconn 50", "none"));
    let added = site.wait_for_ready(1);
    site.all_answered(3);
    agent.pin(2);
    assert_eq!(site.wait_for_ready(2).len(), added.len() + 1);
}

#[test]
fn the_backends_own_default_server_line_holds_for_added_servers_too() {
    let lines =
        ["balance roundrobin", "default-server check inter 100ms maxconn 77 init-addr last,none", LINES[1]];
    let Some(site) = start(1, &lines) else { return };
    let haproxy_cfg = site.haproxy.dir().join("haproxy.cfg");
    let spares = format!(
        "kind: dynamic, default_server: {{ haproxy_cfg: {} }}, {}",
        haproxy_cfg.display(),
        list(&site.addresses())
    );
    let agent = site.agent(&spares);
    agent.pin(2);
    site.wait_for_ready(1);
    let stat = site.haproxy.ask("show stat app 4 -1");
    let row = stat.lines().find(|line| line.contains(",dyn-")).expect("it was added");
    assert_eq!(row.split(',').nth(6), Some("77"), "{row}");
    assert!(row.contains("L4OK,"), "{row}");
    let left_out = agent.event("default-server is for added servers only in part").expect("it is told");
    assert_eq!(left_out["left_out"], "init-addr last,none");
}

#[test]
fn what_a_default_server_takes_back_is_not_sent_to_haproxy() {
    let lines = [
        "default-server check inter 100ms agent-check agent-port 1 ssl",
        "default-server no-ssl no-agent-check no-check",
        LINES[1],
    ];
    let Some(site) = start(1, &lines) else { return };
    let haproxy_cfg = site.haproxy.dir().join("haproxy.cfg");
    let pool = list(&site.addresses());
    let spares =
        format!("kind: dynamic, default_server: {{ haproxy_cfg: {} }}, {pool}", haproxy_cfg.display());
    let found = checked(&site, &spares);
    assert!(!found.contains("HAProxy adds no server"), "{found}");
    let agent = site.agent(&spares);
    agent.pin(2);
    site.wait_for_ready(1);
    site.all_answered(3);
}

#[test]
fn variables_of_haproxys_environment_and_quotes_mean_for_added_servers_what_they_mean_for_others() {
    let global = ["setenv W 40", ".if 1", "setenv M \"${W}0\"", ".endif"];
    let words = "check inter 100ms maxconn \"${M}\" weight \"${W}\" minconn \"${NONE-2}\" sni \"str(a b)\"";
    let default_server = format!("default-server {words}");
    if Haproxy::version().is_none_or(|version| version < vec![2, 6]) {
        return;
    }
    let Some(site) = Site::start_with(1, &global, &["balance roundrobin", &default_server, LINES[1]]) else {
        return;
    };
    let haproxy_cfg = site.haproxy.dir().join("haproxy.cfg");
    let pool = list(&site.addresses());
    let spares =
        format!("kind: dynamic, default_server: {{ haproxy_cfg: {} }}, {pool}", haproxy_cfg.display());
    let found = checked(&site, &spares);
    assert!(found.contains("1 address in its pool, each added when it is needed"), "{found}");
    let agent = site.agent(&spares);
    agent.pin(2);
    site.wait_for_ready(1);
    let stat = site.haproxy.ask("show stat app 4 -1");
    let limits = stat.lines().filter(|line| line.contains(",dyn-") || line.contains(",s1,"));
    let limits: Vec<_> = limits.map(|line| line.split(',').nth(6)).collect();
    assert_eq!(limits, [Some("400"), Some("400")], "the same maxconn");
    let state = site.haproxy.ask("show servers state app");
    let weights = state.lines().filter(|line| line.contains(" s1 ") || line.contains(" dyn-"));
    let weights: Vec<_> = weights.map(|line| line.split(' ').nth(8)).collect();
    assert_eq!(weights, [Some("40"), Some("40")], "{state}");
    assert_eq!(agent.event("pool not read; what it offered before still holds"), None);
    // The same words in the agent's own config, quotes included.
    let spares = format!("kind: dynamic, default_server: 'check sni \"str(a b)\"', {pool}");
    assert!(checked(&site, &spares).contains("1 address in its pool"));
}

#[test]
fn a_default_server_that_only_haproxy_can_tell_of_is_refused_with_its_line() {
    let lines =
        ["balance roundrobin", ".if streq(\"a\",\"b\")", "default-server maxconn 1", ".endif", LINES[1]];
    let Some(site) = start(1, &lines) else { return };
    let haproxy_cfg = site.haproxy.dir().join("haproxy.cfg");
    let text = std::fs::read_to_string(&haproxy_cfg).expect("it was written");
    let at = text.lines().position(|line| line.contains("default-server")).expect("it is there");
    let spares = format!(
        "kind: dynamic, default_server: {{ haproxy_cfg: {} }}, {}",
        haproxy_cfg.display(),
        list(&site.addresses())
    );
    let place =
        format!("haproxy.cfg:{}: this `default-server` holds or not as the `.if` in line {at} says", at + 1);
    let found = checked(&site, &spares);
    assert!(found.contains("FAIL") && found.contains(&place), "{found}");
    let agent = site.agent(&spares);
    let told = agent.event("pool not read; what it offered before still holds").expect("it is told");
    assert!(told["error"].as_str().is_some_and(|error| error.contains(&place)), "{told}");
    assert_eq!(site.servers().len(), 1);
}

#[test]
fn a_server_that_comes_out_other_than_it_was_asked_for_does_not_serve() {
    for (words, deviation) in [
        ("weight $W", "its weight is 0 where `$W` was asked for"),
        ("maxconn $M", "its maxconn is 0 where `$M` was asked for"),
    ] {
        let Some(site) = start(1, &LINES) else { return };
        let agent = site.agent(&dynamic(&site).replace("maxconn 50", words));
        agent.pin(2);
        wait_until("it is told", PATIENCE, || agent.journal_says("error", deviation));
        wait_until("it is deleted again", PATIENCE, || site.servers().len() == 1);
        assert_eq!(agent.backend()["serving"], 1);
        assert!(!agent.has_journaled("event", "serving"), "{:#?}", agent.journal());
    }
}

#[test]
fn what_haproxy_refuses_is_told_with_a_remedy_and_ends_nothing() {
    let Some(site) = start(1, &LINES) else { return };
    let agent = site.agent(&dynamic(&site).replace("maxconn 50", "nonsense 50"));
    agent.pin(2);
    let remedy = "unknown keyword 'nonsense'";
    wait_until("it is told", PATIENCE, || agent.journal_says("error", remedy));
    assert!(agent.journal_says("error", "take it out of `spares.default_server`"));
    assert_eq!(site.servers().len(), 1);
    assert!(!agent.journal_says("error", "failed too"), "{:#?}", agent.journal());
    site.all_answered(3);
}

/// Whether servers that are added can have a value in a cookie.
fn adds_cookies() -> bool {
    let version = Haproxy::version().unwrap_or_default();
    version >= vec![3, 0]
        || [[2, 8, 8], [2, 6, 18]].iter().any(|since| version >= since.to_vec() && version[..2] == since[..2])
}

#[test]
fn clients_are_kept_on_servers_that_are_added_or_it_is_told_that_they_cannot_be() {
    let lines =
        ["balance roundrobin", "cookie SRV insert indirect", "server s1 {s1} check inter 100ms cookie first"];
    let Some(mut site) = start(2, &lines) else { return };
    let (found, told) = (checked(&site, &dynamic(&site)), "clients cannot be kept on servers that are added");
    assert_eq!(
        found.contains(&format!("{told}: this HAProxy gives them no value")),
        !adds_cookies(),
        "{found}"
    );
    let agent = site.agent(&dynamic(&site));
    agent.pin(3);
    site.wait_for_ready(2);
    assert_eq!(agent.event(told).is_some(), !adds_cookies());
    if !adds_cookies() {
        return;
    }
    let kept = |site: &Site| {
        for (server, address) in site.pool.iter().zip(site.addresses()) {
            let before = server.requests();
            for _ in 0..6 {
                let answer = site.ask(&format!("Cookie: SRV={}\r\n", name(&address)));
                assert!(
                    !answer.to_ascii_lowercase().contains("set-cookie"),
                    "it is taken as it is: {answer}"
                );
            }
            assert!(server.requests() >= before + 6, "all of them went there");
        }
    };
    kept(&site);
    site.haproxy.reload();
    site.wait_for_ready(2);
    kept(&site);
}

#[test]
fn values_that_haproxy_computes_or_the_config_says_are_left_to_it() {
    if !adds_cookies() {
        return;
    }
    let computed =
        ["cookie SRV insert dynamic", "dynamic-cookie-key key", "server s1 {s1} check inter 100ms"];
    let named = ["cookie SRV insert", "server s1 {s1} check inter 100ms cookie first"];
    for (lines, words) in [(&computed[..], "maxconn 50"), (&named[..], "cookie other")] {
        let Some(site) = start(1, lines) else { return };
        let spares = dynamic(&site).replace("maxconn 50", words);
        assert!(!checked(&site, &spares).contains("clients cannot be kept"));
        let agent = site.agent(&spares);
        agent.pin(2);
        site.wait_for_ready(1);
        let stat = site.haproxy.ask("show stat app 4 -1");
        let cookie =
            stat.lines().find(|line| line.contains(",dyn-")).and_then(|line| line.split(',').nth(74));
        let cookie = cookie.expect("it is there");
        assert!(cookie == "other" || cookie.len() == 16, "{cookie}");
    }
}

#[test]
fn a_hash_algorithm_that_takes_no_servers_says_so() {
    let Some(site) = start(1, &["balance source", LINES[1]]) else { return };
    let agent = site.agent(&dynamic(&site));
    agent.pin(2);
    wait_until("it is told", PATIENCE, || agent.journal_says("reason", "spares: { kind: slots }"));
    assert_eq!(site.servers().len(), 1);
}

#[test]
fn where_no_server_can_be_added_the_way_out_is_told() {
    let too_old = Haproxy::version().is_some_and(|version| version < vec![2, 6]);
    let balance = if too_old { "balance roundrobin" } else { "balance static-rr" };
    let Some(site) = Site::start(1, &[balance, LINES[1]]) else { return };
    let agent = site.agent(&dynamic(&site));
    agent.pin(2);
    wait_until("it is told", PATIENCE, || agent.journal_says("reason", "spares: { kind: slots }"));
    assert_eq!(site.servers().len(), 1);
    let found = checked(&site, &dynamic(&site));
    assert!(found.contains("declare slots in haproxy.cfg, and say `spares: { kind: slots }`"), "{found}");
}

#[test]
fn check_tells_what_will_be_added_and_without_what() {
    let Some(site) = start(2, &LINES) else { return };
    let found = checked(&site, &dynamic(&site));
    assert!(found.contains("2 addresses in its pool, each added when it is needed"), "{found}");
    assert!(found.contains("1 serving, 2 spare"), "{found}");
    let found = checked(&site, &format!("kind: dynamic, {}", list(&site.addresses())));
    assert!(found.contains("added servers have no health check"), "{found}");
    assert!(!found.contains("HAProxy adds no server"), "{found}");
    let found = checked(&site, &dynamic(&site).replace("maxconn 50", "maxconn 50 tcp-ut 1s"));
    assert!(found.contains("HAProxy adds no server with `check inter 100ms rise 1 fall 1 maxconn 50 tcp-ut 1s`: 'tcp-ut' option is not accepted"), "{found}");
    assert_eq!(site.servers().len(), 1, "nothing was added");
    let there = format!("127.0.0.1:{}", site.first.port());
    let pool = format!("[{{ address: {}, name: s1 }}, {there}]", site.addresses()[0]);
    let found = checked(&site, &format!("kind: dynamic, pool: {pool}, default_server: check"));
    let expected = format!(
        "of its pool never used: {} (another server is called s1), {there} (s1 is there already)",
        site.addresses()[0]
    );
    assert!(found.contains(&expected), "{found}");
}

#[test]
fn a_dry_run_adds_nothing_and_shows_what_would_be() {
    let Some(site) = start(2, &LINES) else { return };
    let config = site.config(&dynamic(&site)) + "    ready: { min: 3 }\n";
    let log = site.haproxy.dir().join("output");
    let agent = super::support::Agent::start(&config, &["--dry-run", log.to_str().expect("text")]);
    wait_until("it would have three", PATIENCE, || agent.backend()["serving"] == 3);
    assert_eq!(site.servers().len(), 1);
}
