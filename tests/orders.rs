//! Operators overrule the agent, schedules set its limits, and it explains itself; on a real HAProxy.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use haproxy_autoscale::demo::load::Load;
use serde_json::Value;
use support::{Agent, Haproxy, NEVER, Origin, PATIENCE, free_port, wait_until};
use tempfile::TempDir;

mod support;

/// HAProxy and its backend `app`: server s1 and the spares s2, s3 and s4, all of them slow if asked.
struct Site {
    haproxy: Haproxy,
    port: u16,
    servers: Vec<Origin>,
}

impl Site {
    fn start() -> Option<Self> {
        let (port, servers): (_, Vec<_>) = (free_port(), (0..4).map(|_| Origin::start()).collect());
        let lines = (1..).zip(&servers).map(|(n, server): (usize, _)| {
            format!("    server s{n} 127.0.0.1:{}{}\n", server.port(), if n > 1 { " disabled" } else { "" })
        });
        let haproxy = Haproxy::start(&format!(
            "global\n    log stdout format raw local0\n\
             defaults\n    log global\n    mode http\n    option httplog\n    timeout connect 60s\n\
             \x20   timeout client 10m\n    timeout server 10m\n    timeout check 60s\n\
             frontend users\n    bind 127.0.0.1:{port}\n    default_backend app\n\
             backend app\n    balance roundrobin\n{}",
            lines.collect::<String>()
        ))?;
        Some(Self { haproxy, port, servers })
    }

    /// A quick config, with more `keys` of the backend.
    fn config(&self, keys: &str) -> String {
        format!(
            "tick: 100ms\nhaproxy: {{ sockets: [{}] }}\nbackends:\n  - name: app\n\
             \x20   target: {{ below: 250ms }}\n    policy: threshold\n    window: {{ length: 1s, min_samples: 10 }}\n    {keys}\n",
            self.haproxy.socket().display()
        )
    }

    fn log(&self) -> String {
        self.haproxy.dir().join("output").to_str().expect("a temporary path is text").to_owned()
    }

    fn agent(&self, keys: &str) -> Agent {
        self.agent_in(tempfile::Builder::new().prefix("ha").tempdir().unwrap(), keys)
    }

    /// In a folder that an agent before it has left.
    fn agent_in(&self, dir: TempDir, keys: &str) -> Agent {
        let agent = Agent::start_in(dir, &self.config(keys), &[&self.log()], Stdio::null());
        wait_until("it knows HAProxy", PATIENCE, || agent.backend()["serving"].is_number());
        agent
    }

    /// Names of the READY servers.
    fn ready(&self) -> Vec<String> {
        let answer = self.haproxy.ask("show servers state app");
        let rows = answer.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let ready = rows.filter(|row| row.get(1) == Some(&"app") && matches!(row[6], "0" | "4"));
        ready.map(|row| row[3].to_owned()).collect()
    }

    #[track_caller]
    fn wait_for(&self, ready: usize) {
        wait_until(&format!("{ready} are READY"), PATIENCE, || self.ready().len() == ready);
    }

    /// Requests that take too long, for a while.
    fn overload(&self) -> haproxy_autoscale::demo::load::Running {
        self.servers.iter().for_each(|server| server.set_delay(Duration::from_millis(20)));
        let load = Load::new(SocketAddr::from(([127, 0, 0, 1], self.port)), |_| 60.0);
        load.start(NEVER).expect("the load runs")
    }
}

/// A backend that is too slow after half a second of [`Site::overload`].
const HASTY: &str =
    "band: { lower: 1ms, upper: 5ms }\n    scale_up: { stabilization_window: 500ms, cooldown: 0s }";

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Who runs the tests, by the name that the agent finds for the user.
fn me() -> String {
    let uid = nix::unistd::Uid::effective();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// The answer to an order that is taken.
#[track_caller]
fn ordered(agent: &Agent, arguments: &[&str]) -> String {
    let output = agent.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    stdout(&output)
}

fn journaled(agent: &Agent, event: &str) -> Option<Value> {
    agent.journal().into_iter().find(|entry| entry["event"] == event)
}

#[test]
fn a_pause_holds_however_slow_it_is_and_resume_ends_it() {
    let Some(site) = Site::start() else { return };
    let agent = site.agent(HASTY);
    let me = me();
    let told = ordered(&agent, &["pause", "app"]);
    assert_eq!(told, format!("app is paused by {me}, until `haproxy-autoscale resume app`\n"));
    let load = site.overload();
    wait_until("it would like to add servers", PATIENCE, || {
        agent.backend()["wish"].as_str().is_some_and(|wish| wish.starts_with("scale up by 1: p95"))
    });
    let shown = agent.backend();
    assert_eq!((&shown["decision"], &shown["reason"]), (&"hold".into(), &format!("paused by {me}").into()));
    assert_eq!(shown["override"]["by"], me);
    assert_eq!(site.ready(), ["s1"]);
    let order = journaled(&agent, "paused").expect("it is journaled");
    assert_eq!(order["uid"], nix::unistd::Uid::effective().as_raw());
    assert!(order["pid"].is_number() && order["by"] == me, "{order}");
    let text = stdout(&agent.command(&["status"]));
    assert!(text.contains(&format!("an operator's order: paused by {me}\n")), "{text}");

    let told = ordered(&agent, &["resume", "app"]);
    assert!(told.starts_with("app is scaled by its policy again; it was paused by"), "{told}");
    wait_until("a server is added", PATIENCE, || site.ready().len() > 1);
    assert!(journaled(&agent, "pause_ended").is_some());
    let told = ordered(&agent, &["resume", "app"]);
    assert_eq!(told, "app is scaled by its policy: it was neither paused nor pinned\n");
    drop(load);
}

#[test]
fn a_pause_ends_by_itself() {
    let Some(site) = Site::start() else { return };
    let agent = site.agent(HASTY);
    let answer = ordered(&agent, &["pause", "app", "--for", "3s", "--output", "json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (&answer["override"]["order"], &answer["override"]["left_s"]),
        (&"paused".into(), &3.0.into())
    );
    let load = site.overload();
    wait_until("a server is added", PATIENCE, || site.ready().len() > 1);
    let end = journaled(&agent, "pause_ended").expect("it is over, and told");
    assert_eq!(end["reason"], "no longer paused: its time is over");
    let first = agent.journal().into_iter().position(|entry| entry["decision"] == "scale_up");
    let over = agent.journal().into_iter().position(|entry| entry["event"] == "pause_ended");
    assert!(over < first, "{:#?}", agent.journal());
    drop(load);
}

#[test]
fn a_pin_brings_servers_up_and_keeps_them_and_lets_others_go() {
    let Some(site) = Site::start() else { return };
    let agent = site.agent("scale_up: { cooldown: 0s }\n    scale_down: { cooldown: 0s }");
    let told = ordered(&agent, &["pin", "app", "3", "--for", "2h"]);
    assert!(told.starts_with(&format!("app is pinned to 3 for 2 h by {}, until ", me())), "{told}");
    assert!(told.ends_with("\n  1 server serves now\n"), "{told}");
    site.wait_for(3);
    wait_until("it is shown", PATIENCE, || agent.backend()["serving"] == 3);
    site.haproxy.ask("set server app/s1 state maint");
    wait_until("another one serves", PATIENCE, || site.ready() == ["s2", "s3", "s4"]);
    // While servers are moved an answer does not say how many there are.
    wait_until("that is over", PATIENCE, || agent.backend()["serving"] == 3 && agent.is_still());
    let reason =
        agent.journal().into_iter().rfind(|entry| entry["decision"] == "scale_up").unwrap_or_default();
    assert!(
        reason["reason"].as_str().is_some_and(|reason| reason.starts_with("pinned to 3 for another 1 h 5"))
    );

    let told = ordered(&agent, &["pin", "app", "9"]);
    assert!(told.contains("it was pinned to 3 by") && told.contains("3 servers at most can serve"), "{told}");
    wait_until("what is missing is told", PATIENCE, || {
        agent.backend()["reason"].as_str().is_some_and(|reason| reason.ends_with("none is left to add"))
    });
    ordered(&agent, &["pin", "app", "1"]);
    site.wait_for(1);
}

#[test]
fn orders_survive_the_agent() {
    let Some(site) = Site::start() else { return };
    let mut agent = site.agent(HASTY);
    ordered(&agent, &["pin", "app", "3", "--for", "1h"]);
    site.wait_for(3);
    wait_until("the move is over", PATIENCE, || agent.is_still());
    agent.signal(nix::sys::signal::Signal::SIGKILL);
    agent.wait();
    let mut agent = site.agent_in(agent.into_dir().unwrap(), HASTY);
    let kept = agent.backend()["override"].clone();
    assert_eq!((&kept["pinned_to"], &kept["by"]), (&3.into(), &me().into()));
    assert!(kept["left_s"].as_f64().is_some_and(|left| (3000.0..=3600.0).contains(&left)), "{kept}");
    site.haproxy.ask("set server app/s1 state maint");
    wait_until("another one serves", PATIENCE, || site.ready() == ["s2", "s3", "s4"]);

    ordered(&agent, &["pause", "app"]);
    agent.stop();
    let agent = site.agent_in(agent.into_dir().unwrap(), HASTY);
    let load = site.overload();
    wait_until("it would like to add servers", PATIENCE, || !agent.backend()["wish"].is_null());
    assert_eq!(agent.backend()["override"]["order"], "paused");
    drop(load);
}

#[test]
fn what_somebody_has_done_and_resume_does_not_undo_is_named() {
    let Some(site) = Site::start() else { return };
    let agent = site.agent("");
    ordered(&agent, &["pin", "app", "3"]);
    site.wait_for(3);
    let shown = |server: usize| agent.backend()["servers"][server].clone();
    wait_until("the move is over", PATIENCE, || agent.is_still());
    site.haproxy.ask("set server app/s1 state drain");
    site.haproxy.ask("set server app/s2 weight 0%");
    wait_until("both are left alone", PATIENCE, || (0..2).all(|n| shown(n)["left_alone_s"].is_u64()));
    let told = ordered(&agent, &["resume", "app"]);
    for line in [
        "  s1 stays in DRAIN, which is not of this agent's doing; to undo it: `set server app/s1 state ready`\n",
        "  s2 keeps its weight of 0, which is not of this agent's doing; to undo it: `set server app/s2 weight 100%`\n",
    ] {
        assert!(told.contains(line), "{told}");
    }
}

/// A value of TZ in which the clock shows so many seconds of the day now.
fn zone(shown: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let west = (now - shown + 43_200).rem_euclid(86_400) - 43_200;
    let (sign, west) = if west < 0 { ("-", -west) } else { ("", west) };
    format!("XXX{sign}{:02}:{:02}:{:02}", west / 3600, west / 60 % 60, west % 60)
}

#[test]
fn a_floor_rises_when_the_clock_says_so() {
    let Some(site) = Site::start() else { return };
    let keys = "ready: { schedule: [{ at: 08:00-18:00, min: 3 }] }";
    let agent_at = |time: i64| Agent::start_in_zone(&zone(time), &site.config(keys), &[&site.log()]);
    let agent = agent_at(7 * 3600);
    wait_until("the next limits are shown", PATIENCE, || {
        let next = agent.backend()["limits"]["next"].clone();
        next["min"] == 3 && next["from"].as_str().is_some_and(|from| from.ends_with("08:00"))
    });
    assert_eq!(site.ready(), ["s1"]);
    drop(agent);
    let agent = agent_at(8 * 3600 - 4);
    site.wait_for(3);
    let told = agent.journal().into_iter().find(|entry| entry["decision"] == "scale_up").unwrap_or_default();
    assert_eq!(told["reason"], "1 server serving, 3 is the fewest allowed (08:00-18:00)");
    let text = stdout(&agent.command(&["status"]));
    assert!(
        text.contains("  may serve: at least 3 (08:00-18:00); from ")
            && text.contains(" 18:00 on at least 1\n"),
        "{text}"
    );
}

#[test]
fn explain_says_what_is_what_it_wants_and_what_keeps_it_from_it() {
    let Some(site) = Site::start() else { return };
    let mut agent = site.agent(HASTY);
    ordered(&agent, &["pin", "app", "2", "--for", "1h"]);
    site.wait_for(2);
    wait_until("the move is over", PATIENCE, || {
        agent.backend()["moving"].is_null() && agent.backend()["serving"] == 2
    });
    let text = stdout(&agent.command(&["explain", "app"]));
    let me = me();
    for sentence in [
        "app\nwhat is\n  2 of 4 servers serve: s1, s2; spare: s3, s4\n".to_owned(),
        "  p95 of Tt over 1 s is not known; the target is below 250 ms (more servers above 5 ms, fewer below 1 ms)\n".into(),
        "what it wants\n  no change: pinned to 2 for another 5".into(),
        "  by itself it would want no change: ".into(),
        format!("what limits it\n  an operator's order: pinned to 2 for 1 h by {me}\n"),
        "  servers that may serve: at least 1\n".into(),
        "when it may move next\n  as soon as ".into(),
        "last moves (UTC)\n".into(),
        "  scale_up 1 -> 2  pinned to 2 for another ".into(),
        "  serving s2".into(),
    ] {
        assert!(text.contains(&sentence), "{sentence}\nis not in\n{text}");
    }
    let json: Value =
        serde_json::from_str(&ordered(&agent, &["explain", "app", "--output", "json"])).unwrap();
    assert_eq!(json["backend"], "app");
    assert!(json["explanation"]["limited_by"].is_array() && json["figures"]["samples"].is_number());

    ordered(&agent, &["pause", "app"]);
    assert_eq!(agent.backend()["reason"], format!("paused by {me}"), "it holds at once");
    let text = stdout(&agent.command(&["explain", "app"]));
    assert!(text.contains("when it may move next\n  when somebody resumes it\n"), "{text}");

    agent.stop();
    let output = agent.command(&["explain", "app"]);
    let text = stdout(&output);
    assert!(output.status.success() && text.starts_with("app: no agent answers on"), "{output:?}");
    assert!(text.contains("last moves (UTC)\n") && text.contains("scale_up 1 -> 2"), "{text}");
}

#[test]
fn an_order_that_cannot_be_is_refused_with_its_reason() {
    let Some(site) = Site::start() else { return };
    let agent = site.agent("");
    #[track_caller]
    fn check(agent: &Agent, arguments: &[&str], code: i32, reason: &str) {
        let output = agent.command(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && told.contains(reason), "{arguments:?}: {output:?}");
    }
    check(&agent, &["pause", "ap"], 2, "this agent scales no backend `ap`\n  did you mean `app`?");
    check(&agent, &["explain", "other"], 2, "it scales app");
    check(&agent, &["pin", "app", "0"], 2, "0 is not in 1..=10000");
    check(&agent, &["pin", "app", "2", "--for", "soon"], 2, "soon");
    assert_eq!(agent.backend().get("override"), Some(&Value::Null));
    let away = Agent::start("", &["/tmp/no-such-directory/haproxy.log"]);
    check(&away, &["pause", "app"], 2, "it only observes");
    let mut gone = away;
    gone.stop();
    check(&gone, &["pause", "app"], 1, "no agent answers on");
}

#[test]
fn the_socket_is_for_owner_and_group_and_takes_no_nonsense() {
    let agent = Agent::start("", &["/tmp/no-such-directory/haproxy.log"]);
    let socket = agent.dir().join("run/agent.sock");
    let metadata = std::fs::metadata(&socket).unwrap();
    assert_eq!(
        (metadata.permissions().mode() & 0o777, metadata.uid()),
        (0o660, nix::unistd::geteuid().as_raw())
    );
    let say = |text: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        serde_json::from_str::<Value>(&answer).unwrap_or_default()
    };
    assert_eq!(say("")["pid"], agent.pid(), "nothing asks for the status");
    assert_eq!(say("\"status\"\n")["pid"], agent.pid());
    for nonsense in ["nonsense\n", "{\"pause\": {\"backend\": \"app\", \"for\": 3}}\n", &"x".repeat(4096)] {
        let error = say(nonsense)["error"].as_str().map(str::to_owned);
        assert!(error.is_some_and(|error| error.starts_with("not a request: ")), "{nonsense}");
    }
}
