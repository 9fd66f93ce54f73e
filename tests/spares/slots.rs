//! Slots: servers of HAProxy's configuration that get an address when they are needed.

use serde_json::Value;

use super::site::{Site, checked, list, sees_well};
use super::support::{Haproxy, Origin, PATIENCE, free_port, wait_until};

const LINES: [&str; 3] = [
    "balance roundrobin",
    "server s1 {s1} check inter 100ms",
    "server-template t 3 127.0.0.1:1 check inter 100ms rise 1 fall 1 disabled",
];

fn slots(site: &Site) -> String {
    format!("kind: slots, {}", list(&site.addresses()))
}

#[test]
fn a_slot_gets_an_address_serves_keeps_it_and_serves_with_it_again() {
    let Some(site) = Site::start(2, &LINES) else { return };
    let agent = site.agent(&slots(&site));
    assert_eq!(agent.backend()["spare"], 2, "two addresses for three slots");
    agent.pin(3);
    let filled = site.wait_for_ready(2);
    let mut found: Vec<_> = filled.values().cloned().collect();
    found.sort();
    let mut wanted = site.addresses();
    wanted.sort();
    assert_eq!(found, wanted);
    site.all_answered(12);
    assert!(site.pool.iter().all(|server| server.requests() > 0), "requests reach both");
    agent.pin(1);
    wait_until("both are in MAINT and have kept their addresses", PATIENCE, || {
        filled.iter().all(|(slot, address)| site.in_state("MAINT").get(slot) == Some(address))
    });
    site.all_answered(5);
    agent.pin(2);
    let again = site.wait_for_ready(1);
    assert!(again.iter().all(|(slot, address)| filled.get(slot) == Some(address)), "{again:?} of {filled:?}");
}

#[test]
fn a_slot_that_is_down_is_replaced_by_one_with_another_address() {
    let lines = [
        "balance roundrobin",
        "option httpchk GET /",
        "server s1 {s1} check inter 100ms fall 2 rise 1",
        "server-template t 3 127.0.0.1:1 check inter 100ms fall 2 rise 1 disabled",
    ];
    let Some(site) = Site::start(3, &lines) else { return };
    let agent = site.agent(&slots(&site));
    agent.pin(2);
    let filled = site.wait_for_ready(1);
    assert!(agent.command(&["resume", "app"]).status.success());
    sees_well(&agent, &filled);
    let address = filled.values().next().expect("one").clone();
    let place = site.addresses().iter().position(|it| *it == address).expect("it is of the pool");
    site.pool[place].set_status(503);
    let both = site.wait_for_ready(2);
    assert!(both.values().filter(|it| **it == address).count() == 1, "{both:?}");
    assert!(agent.journal_says("reason", "is DOWN by its check: t"), "{:#?}", agent.journal());
}

#[test]
fn a_reload_empties_the_slots_and_they_are_filled_again_as_they_were() {
    let Some(mut site) = Site::start(3, &LINES) else { return };
    let agent = site.agent(&slots(&site));
    agent.pin(4);
    let filled = site.wait_for_ready(3);
    agent.pin(3);
    let filled_before = site.wait_for_ready(2);
    site.haproxy.reload();
    assert_eq!(site.wait_for_ready(2), filled_before);
    assert!(filled_before.iter().all(|(slot, address)| filled.get(slot) == Some(address)));
    wait_until("the plan is over", PATIENCE, || agent.is_still());
    agent.pin(4);
    assert_eq!(site.wait_for_ready(3), filled, "the third finds its slot too");
}

#[test]
fn a_reload_in_the_middle_of_a_start_is_made_good() {
    let Some(mut site) = Site::start(1, &LINES) else { return };
    let dead = format!("127.0.0.1:{}", free_port());
    let agent = site.agent(&format!("kind: slots, {}", list(std::slice::from_ref(&dead))));
    agent.pin(2);
    wait_until("it waits for the check", PATIENCE, || site.in_state("DRAIN").values().any(|at| *at == dead));
    site.haproxy.reload();
    wait_until("it is there again", PATIENCE, || site.in_state("DRAIN").values().any(|at| *at == dead));
    let port: u16 = dead.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let _late = Origin::start_on(port);
    site.wait_for_ready(1);
    site.all_answered(6);
}

#[test]
fn an_agent_that_was_killed_is_followed_by_one_that_knows_the_slots() {
    let Some(mut site) = Site::start(3, &LINES) else { return };
    let agent = site.agent(&slots(&site));
    agent.pin(3);
    let filled = site.wait_for_ready(2);
    let left = agent.into_dir().expect("a temporary folder");
    // While nobody looks.
    site.haproxy.reload();
    assert_eq!(site.in_state("READY").len(), 0);
    let agent = site.agent_in(left, &slots(&site));
    assert_eq!(site.wait_for_ready(2), filled);
    drop(agent);
    // And one that remembers nothing, but has the pool.
    let agent = site.agent(&slots(&site));
    agent.pin(1);
    wait_until("both are in MAINT", PATIENCE, || {
        site.in_state("READY").is_empty() && site.in_state("DRAIN").is_empty()
    });
    agent.pin(3);
    assert_eq!(site.wait_for_ready(2), filled);
}

#[test]
fn more_addresses_than_slots_are_told_with_the_line_that_helps() {
    let lines = ["balance roundrobin", LINES[1], "server-template t 1 127.0.0.1:1 disabled"];
    let Some(site) = Site::start(3, &lines) else { return };
    let agent = site.agent(&slots(&site));
    agent.pin(4);
    site.wait_for_ready(1);
    let line = "server-template t 2-3 127.0.0.1:1 disabled";
    wait_until("it is told", PATIENCE, || agent.journal_says("reason", line));
    assert_eq!(agent.backend()["missing_slots"], 2);
    let taken =
        Haproxy::takes(&format!("backend app\n    server-template t 1 127.0.0.1:1 disabled\n    {line}\n"));
    assert_eq!(taken, Some(true), "HAProxy takes the line");
}

#[test]
fn a_pool_file_is_followed_while_the_agent_runs() {
    let Some(site) = Site::start(3, &LINES) else { return };
    let file = site.write_pool(&[0, 1]);
    let agent = site.agent(&format!("kind: slots, pool: {{ file: {} }}", file.display()));
    agent.pin(3);
    let filled = site.wait_for_ready(2);
    // Another one takes the place of the first.
    site.write_pool(&[1, 2]);
    let (gone, new) = (&site.addresses()[0], &site.addresses()[2]);
    wait_until("the one that left the pool is replaced", PATIENCE, || {
        let ready = site.in_state("READY");
        ready.len() == 2 && ready.values().any(|at| at == new) && !ready.values().any(|at| at == gone)
    });
    let kept = site.in_state("READY");
    assert!(kept.iter().any(|(slot, address)| filled.get(slot) == Some(address)), "{kept:?} of {filled:?}");
    site.all_answered(6);
}

#[test]
fn a_pool_file_that_is_wrong_changes_nothing_and_is_shown_until_it_is_right() {
    let Some(site) = Site::start(2, &LINES) else { return };
    let file = site.write_pool(&[0, 1]);
    let agent = site.agent(&format!("kind: slots, pool: {{ file: {} }}", file.display()));
    agent.pin(3);
    let filled = site.wait_for_ready(2);
    let shown = || String::from_utf8_lossy(&agent.command(&["status"]).stdout).into_owned();
    let told = |text: &str| wait_until(text, PATIENCE, || shown().contains(text));
    assert!(!shown().contains("pool NOT READ"));
    std::fs::write(&file, "10.0.0.4:80\n10.0.0.5\n").expect("the folder is ours");
    told(
        "app.pool:2: `10.0.0.5` is not an IP address with a port, such as 10.0.0.4:80\n    put the line right",
    );
    let since = agent.backend()["pool_trouble"]["since"].clone();
    std::fs::write(&file, "# being written\n").expect("the folder is ours");
    told(&format!(
        "no address in `{}`\n    write an address a line, as in `10.0.0.4:80`; until then the 2 addresses",
        file.display()
    ));
    assert_eq!(agent.backend()["pool_trouble"]["since"], since, "it has been wrong since then");
    let explained = String::from_utf8_lossy(&agent.command(&["explain", "app"]).stdout).into_owned();
    assert!(explained.contains("  its pool could not be read: no address in "), "{explained}");
    assert!(agent.has_journaled("event", "pool_not_read"));
    assert_eq!(site.in_state("READY"), filled);
    site.write_pool(&[0, 1]);
    wait_until("it is right again", PATIENCE, || !shown().contains("pool NOT READ"));
    assert!(agent.has_journaled("event", "pool_read"));
    site.all_answered(6);
}

#[test]
fn an_address_where_nobody_listens_never_serves_and_another_one_does() {
    // What has no check waits in MAINT until it takes a connection.
    for (check, meanwhile) in [("check inter 100ms", "DRAIN"), ("", "MAINT")] {
        let slots = format!("server-template t 2 127.0.0.1:1 {check} disabled");
        let Some(site) = Site::start(1, &["balance roundrobin", LINES[1], &slots]) else { return };
        let (dead, alive) = (format!("127.0.0.1:{}", free_port()), site.addresses()[0].clone());
        let agent = site.agent(&format!("kind: slots, {}", list(&[dead.clone(), alive.clone()])));
        agent.pin(3);
        assert_eq!(site.wait_for_ready(1).into_values().collect::<Vec<_>>(), [alive]);
        wait_until("the dead one is being started", PATIENCE, || {
            site.in_state(meanwhile).values().any(|address| *address == dead)
        });
        site.all_answered(10);
    }
}

#[test]
fn a_placeholder_that_looks_like_a_server_has_to_be_named() {
    let Some(site) = Site::start(1, &["balance roundrobin", LINES[1], "server t1 192.0.2.1:80 disabled"])
    else {
        return;
    };
    let agent = site.agent(&format!("placeholder: '192.0.2.1:80', {}", slots(&site)));
    agent.pin(2);
    assert_eq!(site.wait_for_ready(1)["t1"], site.addresses()[0]);
}

#[test]
fn a_slot_without_a_port_of_its_own_gets_one() {
    let Some(site) = Site::start(1, &["balance roundrobin", LINES[1], "server t1 0.0.0.0 disabled"]) else {
        return;
    };
    let agent = site.agent(&slots(&site));
    agent.pin(2);
    assert_eq!(site.wait_for_ready(1)["t1"], site.addresses()[0]);
    site.all_answered(4);
}

#[test]
fn check_counts_slots_and_addresses_and_names_the_line_that_is_missing() {
    let Some(site) = Site::start(4, &LINES) else { return };
    let found = checked(&site, &slots(&site));
    assert!(found.contains("4 addresses in its pool, 3 slots: no slot for 1 of them"), "{found}");
    assert!(found.contains("server-template t 4-4 127.0.0.1:1 disabled"), "{found}");
    assert!(found.contains("1 serving, 3 spare"), "{found}");
    let found = checked(&site, &format!("kind: slots, {}", list(&site.addresses()[..2])));
    assert!(found.contains("ok    backend app: 2 addresses in its pool, 3 slots\n"), "{found}");
    let found = checked(&site, "kind: slots, pool: { file: /nonexistent/app.pool }");
    assert!(found.contains("cannot read `/nonexistent/app.pool`"), "{found}");
}

#[test]
fn a_slot_that_somebody_sent_elsewhere_is_not_started_there() {
    let Some(site) = Site::start(2, &LINES) else { return };
    let elsewhere = Origin::start();
    let agent = site.agent(&slots(&site));
    agent.pin(3);
    site.wait_for_ready(2);
    agent.pin(1);
    wait_until("both are ready to be used again", PATIENCE, || site.in_state("MAINT").len() == 3);
    // One that was filled, and one that is still empty.
    for slot in ["t1", "t3"] {
        site.haproxy.ask(&format!("set server app/{slot} addr 127.0.0.1 port {}", elsewhere.port()));
    }
    wait_until("it is told", PATIENCE, || {
        let told = |slot: &str| {
            let journal = agent.journal();
            journal.iter().any(|entry| entry["event"] == "changed_by_other" && entry["server"] == slot)
        };
        told("t1") && told("t3")
    });
    // Nor when it is no longer left alone for what was seen of it.
    assert!(agent.command(&["resume", "app"]).status.success());
    agent.pin(3);
    wait_until("there is no other slot", PATIENCE, || {
        let is_told =
            |entry: &Value| entry["reason"].as_str().is_some_and(|why| why.contains("every slot is taken"));
        agent.journal().iter().any(is_told)
    });
    assert_eq!(site.wait_for_ready(1).into_keys().collect::<Vec<_>>(), ["t2"]);
    let sent = format!("MAINT 127.0.0.1:{}", elsewhere.port());
    assert_eq!([&site.servers()["t1"], &site.servers()["t3"]], [&sent, &sent]);
    let found = checked(&site, &slots(&site));
    assert!(found.contains("in MAINT, not ours, and left alone: t1, t3"), "{found}");
}

#[test]
fn an_empty_slot_is_no_spare_where_the_config_has_no_pool() {
    let Some(site) = Site::start(0, &LINES) else { return };
    let found = checked(&site, "kind: declared");
    assert!(found.contains("empty slots, whose address is nobody's, and no spares: t1, t2, t3"), "{found}");
    assert!(found.contains("spares: { kind: slots, pool: [...] }"), "{found}");
    let before = site.servers();
    let agent = site.agent("kind: declared");
    agent.pin(2);
    wait_until("none is left", PATIENCE, || agent.journal_says("reason", "none is left to add"));
    assert_eq!(agent.backend()["spare"], 0);
    assert_eq!(site.servers(), before);
}

#[test]
fn a_slot_that_somebody_else_uses_is_left_alone() {
    let Some(site) = Site::start(2, &LINES) else { return };
    let taken = format!("127.0.0.1:{}", site.first.port());
    site.haproxy.ask(&format!("set server app/t1 addr 127.0.0.1 port {}", site.first.port()));
    site.haproxy.ask("set server app/t1 state ready");
    let agent = site.agent(&slots(&site));
    agent.pin(4);
    wait_until("the others are filled", PATIENCE, || site.in_state("READY").len() == 3);
    assert_eq!(site.servers()["t1"], format!("READY {taken}"));
    let journal = agent.journal();
    assert!(!journal.iter().any(|entry| entry["server"] == "t1"), "{journal:#?}");
}

#[test]
fn a_dry_run_fills_no_slot_and_shows_what_would_be() {
    let Some(site) = Site::start(2, &LINES) else { return };
    let before = site.servers();
    let config = site.config(&slots(&site)) + "    ready: { min: 3 }\n";
    let log = site.haproxy.dir().join("output");
    let agent = super::support::Agent::start(&config, &["--dry-run", log.to_str().expect("text")]);
    wait_until("it would have three", PATIENCE, || agent.backend()["serving"] == 3);
    assert_eq!(site.servers(), before);
}

#[test]
fn no_request_fails_while_slots_come_and_go() {
    let Some(site) = Site::start(3, &LINES) else { return };
    let agent = site.agent(&slots(&site));
    for servers in [4, 2, 3, 1] {
        agent.pin(servers);
        let mut asked = 0;
        wait_until(&format!("{servers} serve"), PATIENCE, || {
            asked += 1;
            assert_eq!(site.get(), "200", "request {asked} on the way to {servers}");
            site.in_state("READY").len() == servers - 1 && site.in_state("DRAIN").is_empty()
        });
    }
}
