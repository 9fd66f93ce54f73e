//! Slots that run out: haproxy.cfg gets more of them, and HAProxy is reloaded.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use haproxy_autoscale::demo::load::Load;
use serde_json::Value;

use super::several::Pair;
use super::site::{MASTER, Site, findings, kept, metrics, of_node, status_text, told};
use super::support::{Agent, PATIENCE, wait_until};

/// One slot for two addresses.
const ONE: &str = "    server slot1 127.0.0.1:1 weight 10 maxconn 77 cookie slot1 disabled # the only one\n";

/// With nothing that a template of `{{ servers }}` alone would leave out: that takes no reload.
const PLAIN: &str = "    server slot1 127.0.0.1:1 weight 10 disabled\n";

const BY_TWO: &str = "kind: slots, grow: { by: 2, to: 3 }";

/// As `{{ servers }}`, but with as many lines as `most`.
fn by_hand(most: usize) -> String {
    format!(
        "{{% for server in backends.app[:{most}] -%}}\n    server {{{{ server.name }}}} {{{{ server.address }}}} weight \
         {{{{ server.weight }}}}{{{{ \" disabled\" if server.disabled }}}}\n{{% endfor %}}\n"
    )
}

/// Waits until the backend holds for a reason that says so.
#[track_caller]
fn reason(agent: &Agent, part: &str) {
    wait_until(&format!("the reason says `{part}`"), PATIENCE, || {
        agent.backend()["reason"].as_str().is_some_and(|reason| reason.contains(part))
    });
}

/// Waits until HAProxy has these servers, in these states and with these weights.
#[track_caller]
fn has(site: &Site, servers: &[&str]) {
    wait_until(&format!("{servers:?}"), PATIENCE, || site.servers() == servers);
}

#[track_caller]
fn has_reloaded(agent: &Agent, count: usize) {
    let told = || agent.events().iter().filter(|event| event["message"] == "haproxy reloaded").count();
    wait_until(&format!("{count} reloads are told"), PATIENCE, || told() >= count);
    assert_eq!(told(), count);
}

const ALL_SERVE: [&str; 4] = ["s1 READY 10", "slot1 READY 10", "slot2 READY 10", "slot3 MAINT 10"];

#[test]
fn a_block_gets_more_slots_that_are_like_the_last_one() {
    let Some(site) = Site::with_pool(ONE, BY_TWO, ("", "")) else { return };
    let agent = site.agent(&format!("  keep: block\n{MASTER}"));
    agent.pin(3);
    has(&site, &ALL_SERVE);
    has_reloaded(&agent, 1);
    let line = "    server slot3 127.0.0.1:1 weight 10 maxconn 77 cookie slot3 disabled\n    # END";
    assert!(site.cfg_text().contains(line), "{}", site.cfg_text());
    assert!(agent.has_journaled("event", "haproxy_slots_added"));
    assert_eq!(
        told(&agent, "slots added to haproxy.cfg; haproxy has them after a reload")["slots"],
        "app/slot2, app/slot3"
    );
    assert!(metrics(&site).contains(&of_node(&site, "slots_added_total", "", "2")), "{}", metrics(&site));
    // They stay, and are used again.
    agent.pin(1);
    has(&site, &["s1 READY 10", "slot1 MAINT 10", "slot2 MAINT 10", "slot3 MAINT 10"]);
    agent.pin(3);
    has(&site, &ALL_SERVE);
    has_reloaded(&agent, 1);
}

#[test]
fn a_template_gets_more_slots() {
    let Some(site) = Site::with_pool(ONE, BY_TWO, ("", "")) else { return };
    site.template("");
    let agent = site.agent(&format!("  keep: template\n{MASTER}"));
    agent.pin(3);
    has(&site, &ALL_SERVE);
    assert!(
        site.cfg_text().contains("    server slot3 127.0.0.1:1 weight 10 disabled\n"),
        "{}",
        site.cfg_text()
    );
}

/// Their addresses would be lost with the reload: nothing keeps those of a `server-template`.
#[test]
fn slots_of_a_server_template_get_lines_and_keep_their_addresses() {
    let lines = "    server-template slot 1 127.0.0.1:1 weight 10 maxconn 77 disabled\n";
    let Some(mut site) = Site::with_pool(lines, BY_TWO, ("", "")) else { return };
    let mut agent = site.agent(&format!("  keep: block\n{MASTER}"));
    agent.pin(3);
    has(&site, &ALL_SERVE);
    let text = || site.cfg_text();
    let is_written = |slot: u16| text().contains(&format!("    server slot{slot} 127.0.0.1:"));
    let disabled = || text().matches(" weight 10 maxconn 77 disabled\n").count();
    wait_until("both are written down", PATIENCE, || disabled() == 1);
    assert!(
        is_written(1) && is_written(2) && is_written(3) && !text().contains("server-template"),
        "{}",
        text()
    );
    agent.stop();
    site.reload();
    assert_eq!(site.servers(), ALL_SERVE);
}

/// They grow twice under load, and no request fails.
#[track_caller]
fn check_load(keep: &str) {
    let Some(site) = Site::with_pool(PLAIN, "kind: slots, grow: { by: 1 }", ("", "")) else { return };
    site.template("");
    let agent = site.agent(&format!("  keep: {keep}\n{MASTER}"));
    let load = Load::new(SocketAddr::from(([127, 0, 0, 1], site.port)), |_| 100.0).patience(PATIENCE);
    let load = load.start(Duration::from_secs(10)).unwrap();
    agent.pin(3);
    has(&site, &ALL_SERVE[..3]);
    let requests = load.finish();
    let failed: Vec<_> = requests.iter().filter(|request| request.is_failed()).collect();
    assert!(requests.len() > 300 && failed.is_empty(), "{} of {}: {failed:?}", failed.len(), requests.len());
    has_reloaded(&agent, 1);
}

#[test]
fn a_block_grows_under_load_and_no_request_fails() {
    check_load("block");
}

#[test]
fn a_template_grows_under_load_and_no_request_fails() {
    check_load("template");
}

/// What HAProxy, or what comes after it, says to more than two servers leaves it as it is; all else is kept.
#[track_caller]
fn check_refused(lines: &str, error: &str, reason: &str) {
    let Some(site) = Site::with_pool(PLAIN, BY_TWO, ("", "")) else { return };
    site.template_of(lines);
    let agent = site.agent(&format!("  keep: template\n{MASTER}"));
    let pid = site.pid();
    agent.pin(3);
    let failed = told(&agent, "slots not added; haproxy goes on as it was");
    assert_eq!(failed["slots"], "app/slot2, app/slot3");
    assert!(failed["error"].as_str().unwrap().contains(error), "{failed}");
    assert!(failed["remedy"].is_string(), "{failed}");
    self::reason(&agent, reason);
    let shown = kept(&agent);
    assert!(shown["slots_not_added"]["since"].is_string() && shown["not_kept"].is_null(), "{shown}");
    assert!(status_text(&agent).contains("  SLOTS NOT ADDED since "), "{}", status_text(&agent));
    assert!(agent.has_journaled("event", "haproxy_slots_not_added"));
    assert!(metrics(&site).contains(&of_node(&site, "slots_not_added", "", "2")), "{}", metrics(&site));
    let slot1 = format!("server slot1 127.0.0.1:{} weight 10\n", site.servers[1].port());
    wait_until("all else is kept", PATIENCE, || site.cfg_text().contains(&slot1));
    assert_eq!((site.pid(), site.servers()), (pid, ALL_SERVE[..2].iter().map(|&it| it.to_owned()).collect()));
    // Another template may be right.
    site.template_of("    {{ servers }}\n");
    has(&site, &ALL_SERVE);
    wait_until("it is over", PATIENCE, || kept(&agent)["slots_not_added"].is_null());
}

#[test]
fn slots_that_haproxy_refuses_are_left_out_and_told() {
    check_refused(
        "    {{ servers }}\n{% if backends.app|length > 2 %}    bogus keyword\n{% endif %}",
        "unknown keyword 'bogus' in 'backend' section",
        "which has failed: HAProxy says [ALERT]",
    );
}

#[test]
fn slots_that_would_serve_at_once_are_left_out_and_told() {
    let lines = by_hand(9).replace("if server.disabled", "if server.disabled and loop.index <= 2");
    let error = "the line of the slot `app/slot2` in haproxy.cfg would not be `127.0.0.1:1 ... disabled`";
    check_refused(&lines, error, error);
}

#[test]
fn slots_that_a_template_makes_no_lines_for_are_told() {
    let error = "haproxy.cfg would have no line for the slot `app/slot2`";
    check_refused(&by_hand(2), error, error);
}

#[test]
fn a_reload_that_fails_with_new_slots_leaves_the_old_process_and_its_file() {
    let Some(site) = Site::with_pool(ONE, BY_TWO, ("", "")) else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!(
        "frontend more\n    {{% if backends.app|length > 2 %}}bind {}{{% endif %}}\n    default_backend app\n",
        taken.local_addr().unwrap()
    );
    site.template(&more);
    let before = site.pid();
    let agent = site.agent(&format!("  keep: template\n{MASTER}"));
    wait_until("the first one is written", PATIENCE, || site.cfg_text().contains("frontend more"));
    has_reloaded(&agent, 1);
    let pid = site.await_successor(before);
    agent.pin(3);
    let failed = told(&agent, "haproxy not reloaded; the old process goes on");
    assert_eq!(failed["file_taken_back"], "yes", "{failed}");
    told(&agent, "slots not added; haproxy goes on as it was");
    reason(&agent, "haproxy.cfg gets the slots slot2 to slot3, which has failed: ");
    assert_eq!(site.pid(), pid);
    assert!(!site.cfg_text().contains("server slot2"), "{}", site.cfg_text());
    // All else is kept meanwhile.
    site.ask("set server app/s1 weight 30");
    wait_until("it is written", PATIENCE, || site.cfg_text().contains(" weight 30\n"));
}

#[test]
fn slots_wait_for_the_reload_and_are_not_forgotten_with_the_agent() {
    let Some(mut site) = Site::with_pool(ONE, BY_TWO, ("", "")) else { return };
    let keys = |interval| format!("  keep: block\n{}", MASTER.replace("1s", interval));
    let mut agent = site.agent(&keys("1h"));
    let pid = site.pid();
    agent.pin(3);
    reason(
        &agent,
        "haproxy.cfg gets the slots slot2 to slot3: the reload waits: the last reload is too short ago",
    );
    assert_eq!(agent.backend()["slots_to_come"], serde_json::json!(["slot2", "slot3"]));
    let explained = String::from_utf8(agent.command(&["explain", "app"]).stdout).unwrap();
    assert!(explained.contains("haproxy.cfg gets the slots slot2, slot3"), "{explained}");
    let text = site.cfg_text();
    assert!(text.contains("    server slot3 127.0.0.1:1 "), "{text}");
    assert_eq!(site.pid(), pid);
    agent.stop();
    let dir = agent.into_dir().unwrap();
    let agent = Agent::start_in(dir, &site.config(&keys("1s")), &[&site.log()], Stdio::null());
    has(&site, &ALL_SERVE);
    has_reloaded(&agent, 1);
    assert_eq!(site.cfg_text().matches("server slot2").count(), 1);
    site.end();
}

#[test]
fn there_are_never_more_slots_than_that() {
    let Some(site) = Site::with_pool(ONE, "kind: slots, grow: { by: 2, to: 1 }", ("", "")) else { return };
    let agent = site.agent(&format!("  keep: block\n{MASTER}"));
    agent.pin(3);
    reason(&agent, "every slot is taken, and `grow` allows no more than 1; 1 more address waits for one");
    has_reloaded(&agent, 0);
    assert!(!site.cfg_text().contains("slot2"));
}

#[test]
fn nothing_is_written_in_a_dry_run() {
    let Some(site) = Site::with_pool(ONE, "kind: slots, grow: { by: 2 }", ("", "")) else { return };
    let text = site.cfg_text();
    // Its only slot is taken by somebody.
    site.ask("set server app/slot1 state ready");
    let config = site.config(&format!("  keep: block\n{MASTER}"));
    let agent = Agent::start(&config, &["--dry-run", &site.log()]);
    wait_until("it knows HAProxy", PATIENCE, || agent.backend()["serving"].is_number());
    agent.pin(4);
    reason(&agent, "nothing is written in a dry run");
    assert_eq!(site.cfg_text(), text);
}

/// Two of them, each with its own way.
#[test]
fn two_haproxys_get_the_same_slots_one_after_the_other() {
    let Some(pair) = Pair::with_pool(PLAIN, BY_TWO) else { return };
    pair.b.template("");
    let reload = "reload: { by: master, socket: {dir}/master.sock, min_interval: 1s }";
    let agent = pair.agent([&format!("keep: block, {reload}"), &format!("keep: template, {reload}")]);
    let port = pair.a.port;
    let load = Load::new(SocketAddr::from(([127, 0, 0, 1], port)), |_| 50.0).patience(PATIENCE);
    let load = load.start(Duration::from_secs(10)).unwrap();
    agent.pin(3);
    has(&pair.a, &ALL_SERVE);
    has(&pair.b, &ALL_SERVE);
    has_reloaded(&agent, 2);
    let requests = load.finish();
    let failed: Vec<_> = requests.iter().filter(|request| request.is_failed()).collect();
    assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), requests.len());
}

/// Slots that one of them lacks would be used on none.
#[test]
fn nothing_grows_where_one_of_two_cannot() {
    let Some(pair) = Pair::with_pool(ONE, BY_TWO) else { return };
    let reload = "reload: { by: master, socket: {dir}/master.sock, min_interval: 1s }";
    let agent = pair.agent([&format!("keep: block, {reload}"), "keep: block"]);
    agent.pin(3);
    let socket = pair.b.path("admin.sock");
    let why = format!("`grow` cannot do that, as `{}`: `haproxy.reload.by` is none", socket.display());
    reason(&agent, &why);
    assert!(!pair.a.cfg_text().contains("slot2"));
}

/// What `check` finds, as in `ok: haproxy.keep block: ...`, of what begins so.
fn checked(site: &Site, config: &str, begins: &str) -> Vec<String> {
    let text = |one: &Value, key: &str| {
        one[key].as_str().unwrap().replace(&site.dir.path().display().to_string(), "A")
    };
    let findings = findings(site, config);
    let words = findings
        .iter()
        .map(|one| format!("{}: {}: {}", text(one, "grade"), text(one, "about"), text(one, "found")));
    words.filter(|words| words.contains(begins)).collect()
}

#[test]
fn check_tells_whether_slots_can_be_added_and_tries_it() {
    let Some(site) = Site::with_pool(ONE, BY_TWO, ("", "")) else { return };
    let found = |keys: &str, begins: &str| checked(&site, &site.config(keys), begins);
    assert_eq!(
        found("", "`grow` of app"),
        [
            "fail: haproxy.keep for `grow` of app: `haproxy.keep` is neither block nor template: no slots can be added"
        ]
    );
    assert_eq!(
        found("  keep: block\n", "`grow` of app"),
        ["fail: haproxy.keep for `grow` of app: `haproxy.reload.by` is none: no slots can be added"]
    );
    let block = format!("  keep: block\n{MASTER}");
    assert_eq!(
        found(&block, "`grow` of app"),
        ["ok: haproxy.keep for `grow` of app: slots that run out get 2 more at a time at least, up to 3"]
    );
    assert_eq!(
        found(&block, "slot1-more"),
        [
            "ok: haproxy.keep block with the slot app/slot1-more: HAProxy takes what would be written to `A/haproxy.cfg` \
          from this user"
        ]
    );
    site.template_of("    {{ servers }}\n{% if backends.app|length > 2 %}    bogus keyword\n{% endif %}");
    let template = found(&format!("  keep: template\n{MASTER}"), "slot1-more");
    assert!(
        template[0].starts_with("fail: ") && template[0].contains("unknown keyword 'bogus'"),
        "{template:?}"
    );
    site.template_of(&by_hand(2));
    let template = found(&format!("  keep: template\n{MASTER}"), "slot1-more");
    assert!(template[0].contains("would have no line for the slot `app/slot1-more`"), "{template:?}");
}

#[test]
fn check_tells_which_of_two_cannot_get_more_slots() {
    let Some(pair) = Pair::with_pool(ONE, BY_TWO) else { return };
    let reload = "reload: { by: master, socket: {dir}/master.sock }";
    let config = pair.config(["keep: none", &format!("keep: block, {reload}")]);
    assert_eq!(
        checked(&pair.a, &config, "`grow` of app"),
        [
            "fail: haproxy.keep of A/admin.sock for `grow` of app: `haproxy.keep` is neither block nor template: no \
             slots can be added"
        ]
    );
}
