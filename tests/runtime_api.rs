//! The Runtime API's client against a real HAProxy, and against one that misbehaves.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use haproxy_autoscale::core::names::Names;
use haproxy_autoscale::core::plan::inventory::{
    AdminState, Cookie, Inventory, OperationalState, ServerState,
};
use haproxy_autoscale::core::settings::spares::Keywords;
use haproxy_autoscale::core::units::Weight;
use haproxy_autoscale::core::wire::command::{Command, Name, ServerName};
use haproxy_autoscale::core::wire::guarded::{Guarded, Overtaken};
use haproxy_autoscale::core::wire::response::{Level, Refusal, Reply};
use haproxy_autoscale::core::wire::version::{Ability, TABLE};
use haproxy_autoscale::haproxy::address::{Address, Endpoint};
use haproxy_autoscale::haproxy::client::Client;
use haproxy_autoscale::haproxy::error::{Phase, RuntimeError};
use nix::sys::socket;
use support::{FakeHaproxy, Fault, Haproxy, NEVER, Origin, PATIENCE, ask, eventually, free_port, wait_until};

fn client(socket: &Path) -> Client {
    Client::new(Address::Unix(socket.to_owned()), PATIENCE)
}

/// A client that gives up soon, for what never answers.
fn impatient(socket: &Path) -> Client {
    Client::new(Address::Unix(socket.to_owned()), Duration::from_secs(1))
}

fn server_name(server: &str) -> ServerName {
    let (backend, server) = server.split_once('/').expect("tests write backend/server");
    ServerName::new(backend, server).expect("tests use names that HAProxy can have")
}

fn set(server: &str, state: AdminState) -> Command {
    Command::SetState { server: server_name(server), state }
}

fn weights(weights: &[(&str, u16)]) -> Command {
    let weights = weights.iter().map(|(server, weight)| (server_name(server), Weight::new(*weight).unwrap()));
    Command::set_weights(weights).remove(0)
}

#[track_caller]
fn find<'a>(inventory: &'a Inventory, names: &Names, server: &str) -> &'a ServerState {
    let (backend, server) = server.split_once('/').expect("tests write backend/server");
    let backend = names.backend(backend).unwrap();
    let found = inventory.backend(backend).and_then(|found| found.server(names.server(backend, server)?));
    found.unwrap_or_else(|| panic!("no {server} in {inventory:?}"))
}

/// The server as HAProxy says it is now.
async fn look(client: &Client, server: &str) -> ServerState {
    let names = Names::default();
    let inventory = client.inventory(&names).await.unwrap_or_else(|error| panic!("{error:?}"));
    find(&inventory, &names, server).clone()
}

/// Carries out `command`, which HAProxy must not refuse.
async fn run(client: &Client, command: &Command) {
    assert_eq!(client.run(command).await.unwrap_or_else(|error| panic!("{command}: {error:?}")), Reply::Done);
}

#[track_caller]
fn refused(result: Result<Reply, RuntimeError>, want: &Refusal) {
    let error = result.expect_err("HAProxy should have refused");
    assert_eq!(error.refusal(), Some(want), "{error:?}");
}

// --- The harness itself.

#[test]
fn the_harness_starts_reloads_and_kills_a_real_haproxy() {
    let Some(mut haproxy) = Haproxy::start("backend web\n    server s1 127.0.0.1:1") else { return };
    let old = haproxy.pid();
    haproxy.reload();
    assert_ne!(haproxy.pid(), old);
    assert!(haproxy.ask("show info").contains(&format!("Pid: {}\n", haproxy.pid())));
    haproxy.kill();
    assert!(ask(&haproxy.socket(), "show info").is_err());
    haproxy.start_again();
    assert_eq!(haproxy.ask("get weight web/s1"), "1 (initial 1)\n\n");
}

#[test]
fn the_fake_keeps_state_and_fails_on_demand() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    assert_eq!(ask(&fake.socket(), "set server web/s1 state maint").unwrap(), "\n");
    assert_eq!(fake.server("web/s1").admin, 1);
    fake.fail_next(1, Fault::CloseSilently);
    assert_eq!(ask(&fake.socket(), "set server web/s1 state ready").unwrap(), "");
    assert_eq!(fake.server("web/s1").admin, 0);
    assert_eq!(ask(&fake.socket(), "set server web/s9 state ready").unwrap(), "No such server.\n\n");
    assert_eq!(fake.commands()[0], "set server web/s1 state maint");
}

#[tokio::test]
async fn the_fake_looks_to_the_client_like_haproxy() {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"]), ("api", &["s1"])]);
    fake.change("web/s1", |server| (server.checked, server.sessions) = (true, 3));
    let client = client(&fake.socket());
    run(&client, &set("web/s1", AdminState::Maint)).await;
    assert_eq!(look(&client, "web/s1").await.state(), AdminState::Maint);
    run(&client, &Command::DrainUntilChecked { server: server_name("web/s1") }).await;
    assert!(!look(&client, "web/s1").await.check_passed);
    let server = look(&client, "web/s1").await;
    assert!(server.check_passed && server.is_up());
    assert_eq!((server.state(), server.sessions), (AdminState::Drain, 3));
    run(&client, &weights(&[("web/s1", 0), ("web/s2", 256)])).await;
    assert_eq!(look(&client, "web/s2").await.weight, Weight::MAX);
    assert_eq!(client.process().await.unwrap().pid, 4711);
    let api = client.backend_inventory(&Name::new("api").unwrap(), &Names::default()).await.unwrap();
    assert_eq!(api.backends.len(), 1);
    let nope = client.backend_inventory(&Name::new("nope").unwrap(), &Names::default()).await;
    assert_eq!(nope.unwrap_err().refusal(), Some(&Refusal::NoSuchBackend));
    fake.reply_to("set server web/s1 state", "Permission denied");
    refused(client.run(&set("web/s1", AdminState::Ready)).await, &Refusal::PermissionDenied);
    fake.reply_to("set server web/s2 state", "");
    run(&client, &set("web/s2", AdminState::Maint)).await;
    assert!(look(&client, "web/s2").await.is_serving(), "it only said so");
}

/// HAProxy of two processes: one socket for both, and one for each.
const TWO_PROCESSES: &str = "\
global
    nbproc 2
    stats socket {dir}/1.sock level admin process 1
    stats socket {dir}/2.sock level admin process 2
backend web
    server s1 127.0.0.1:1
";

/// Processes other than threads are a thing of HAProxy up to 2.4 (configuration manual 3.1).
#[tokio::test]
async fn a_part_of_haproxys_processes_is_not_taken_for_haproxy() {
    if Haproxy::version().is_none_or(|version| version >= vec![2, 5]) {
        return;
    }
    let Some(haproxy) = Haproxy::start_with_master(TWO_PROCESSES) else { return };
    let names = Names::default();
    let (one, two) = (haproxy.dir().join("1.sock"), haproxy.dir().join("2.sock"));
    let master = format!("master:{}", haproxy.master_socket().display()).parse::<Endpoint>().unwrap();
    for alone in [client(&haproxy.socket()), client(&one), Client::new(master, PATIENCE).one_of(2)] {
        let error = alone.inventory(&names).await.expect_err("another process has the rest");
        assert!(matches!(error, RuntimeError::ManyProcesses { processes: 2, .. }), "{error}");
        assert!(error.to_string().contains("process N"), "{error}");
    }
    for both in [&one, &two] {
        let inventory = client(both).one_of(2).inventory(&names).await;
        assert!(inventory.is_ok(), "{inventory:?}");
    }
}

// --- A real HAProxy.

#[tokio::test]
async fn states_that_were_set_are_read_back() {
    let Some(haproxy) = Haproxy::start("backend web\n    server s1 127.0.0.1:1\n    server s2 127.0.0.1:1")
    else {
        return;
    };
    let client = client(&haproxy.socket());
    for state in
        [AdminState::Drain, AdminState::Maint, AdminState::Drain, AdminState::Ready, AdminState::Maint]
    {
        for _ in 0..2 {
            run(&client, &set("web/s1", state)).await;
            assert_eq!(look(&client, "web/s1").await.state(), state);
        }
    }
    assert!(look(&client, "web/s2").await.is_serving());
}

#[tokio::test]
async fn the_process_is_told_and_another_one_after_a_reload() {
    let Some(mut haproxy) = Haproxy::start("backend web\n    server s1 127.0.0.1:1") else { return };
    let client = client(&haproxy.socket());
    let inventory = client.inventory(&Names::default()).await.unwrap();
    assert_eq!(inventory.process.pid, haproxy.pid());
    assert!(!inventory.process.stopping);
    assert!(inventory.process.version.starts_with(|c: char| c.is_ascii_digit()), "{:?}", inventory.process);
    haproxy.reload();
    assert_eq!(client.process().await.unwrap().pid, haproxy.pid());
}

/// HAProxy takes no line that is longer than its buffers; a master puts a worker's name before each part.
#[tokio::test]
async fn weights_of_many_servers_change_in_a_few_lines_that_small_buffers_take() {
    let servers: String = (0..150).map(|n| format!("    server s{n} 127.0.0.1:1 weight 10\n")).collect();
    let config = format!("global\n    tune.bufsize 4096\nbackend web\n{servers}");
    let Some(haproxy) = Haproxy::start_with_master(&config) else { return };
    let master = format!("master:{}", haproxy.master_socket().display()).parse::<Endpoint>().unwrap();
    for (client, by) in [(client(&haproxy.socket()), 0u16), (Client::new(master, PATIENCE), 1)] {
        let weight = |n| Weight::new(n + by).unwrap();
        let wanted = (0..150).map(|n| (server_name(&format!("web/s{n}")), weight(n)));
        let commands = Command::set_weights(wanted);
        assert!(commands.len() < 4, "{commands:?}");
        for command in &commands {
            run(&client, command).await;
        }
        let names = Names::default();
        let inventory = client.inventory(&names).await.unwrap();
        for n in 0..150 {
            let server = find(&inventory, &names, &format!("web/s{n}"));
            assert_eq!((server.weight, server.initial_weight.value()), (weight(n), 10));
        }
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let config = "global\n    stats socket {dir}/operator.sock level operator\n\
                  backend web\n    server s1 127.0.0.1:1\n\
                  backend fixed\n    balance source\n    server s1 127.0.0.1:1 weight 10\n    server s2 127.0.0.1:1";
    let Some(haproxy) = Haproxy::start(config) else { return };
    let client = client(&haproxy.socket());
    refused(client.run(&set("web/s9", AdminState::Drain)).await, &Refusal::NoSuchServer);
    refused(client.run(&set("nope/s1", AdminState::Drain)).await, &Refusal::NoSuchBackend);
    refused(client.run(&weights(&[("fixed/s1", 5)])).await, &Refusal::StaticAlgorithm);
    let operator = self::client(&haproxy.dir().join("operator.sock"));
    refused(operator.run(&set("web/s1", AdminState::Drain)).await, &Refusal::PermissionDenied);
    assert!(operator.inventory(&Names::default()).await.is_ok(), "reading needs no level");
    let (level, less) = (client.socket_level().await.unwrap(), operator.socket_level().await.unwrap());
    assert_eq!((level, less), (Level::Admin, Level::Operator));
    assert!(look(&client, "web/s1").await.is_serving(), "what was refused was not done");
}

#[tokio::test]
async fn the_refused_part_of_a_line_is_named_and_the_others_are_done() {
    let config = "backend web\n    server s1 127.0.0.1:1\n    server s2 127.0.0.1:1";
    let Some(haproxy) = Haproxy::start(config) else { return };
    let client = client(&haproxy.socket());
    let error = client.run(&weights(&[("web/s1", 7), ("web/s9", 8), ("web/s2", 9)])).await.unwrap_err();
    let address = haproxy.socket();
    let want = format!("HAProxy at `{}` refused `set server web/s9 weight 8`", address.display());
    assert_eq!(error.to_string(), want);
    assert_eq!(look(&client, "web/s1").await.weight.value(), 7);
    assert_eq!(look(&client, "web/s2").await.weight.value(), 9);
}

/// On the socket itself and by way of the master.
#[tokio::test]
async fn a_change_is_not_sent_where_haproxy_is_not_as_it_was_read_any_more() {
    let config = "backend web\n    server s1 127.0.0.1:1\n    server s2 127.0.0.1:1";
    let Some(mut haproxy) = Haproxy::start_with_master(config) else { return };
    let master = format!("master:{}", haproxy.master_socket().display()).parse::<Endpoint>().unwrap();
    for client in [client(&haproxy.socket()), Client::new(master, PATIENCE)] {
        let names = Names::default();
        let read = client.inventory(&names).await.unwrap();
        let guarded =
            |command, read: &Inventory| Guarded::new(command, &read.process, &read.backends[0], &names);
        let overtaken =
            async |change: Guarded| client.change(&change).await.map_err(|error| error.overtaken());

        let (seven, nine) = (weights(&[("web/s1", 7), ("web/s2", 7)]), weights(&[("web/s1", 9)]));
        assert_eq!(overtaken(guarded(seven, &read)).await, Ok(Reply::Done));
        let (found, expected) = (Weight::new(7).unwrap(), Weight::ONE);
        let reweighed = Overtaken::Reweighed { found, expected };
        assert_eq!(overtaken(guarded(nine.clone(), &read)).await, Err(Some(reweighed)));

        haproxy.ask("set server web/s2 state maint");
        let moved = Overtaken::Moved { found: AdminState::Maint, expected: AdminState::Ready };
        let drain = set("web/s2", AdminState::Drain);
        assert_eq!(overtaken(guarded(drain.clone(), &read)).await, Err(Some(moved)));
        assert_eq!(overtaken(guarded(set("web/s1", AdminState::Drain), &read)).await, Ok(Reply::Done));
        assert_eq!(haproxy.ask("get weight web/s1"), "7 (initial 1)\n\n");

        let read = client.inventory(&names).await.unwrap();
        haproxy.reload();
        for change in [nine, drain] {
            assert_eq!(overtaken(guarded(change, &read)).await, Err(Some(Overtaken::Restarted)));
        }
        let now = client.inventory(&names).await.unwrap();
        assert!(now.backends[0].servers.iter().all(|server| server.is_serving()), "nothing was told to it");
    }
}

#[tokio::test]
async fn where_a_master_has_no_worker_nothing_is_waited_for() {
    let fake = FakeHaproxy::start(&[("web", &["s1"])]);
    let master = format!("master:{}", fake.master_socket().display()).parse::<Endpoint>().unwrap();
    let (client, names) = (Client::new(master, PATIENCE), Names::default());
    let read = client.inventory(&names).await.unwrap();
    let drain = set("web/s1", AdminState::Drain);
    let change = Guarded::new(drain, &read.process, &read.backends[0], &names);
    fake.fail_next(1, Fault::Replaced);
    let told = client.change(&change).await.map_err(|error| error.overtaken());
    assert_eq!(told, Err(Some(Overtaken::Restarted)));
    assert_eq!(fake.server("web/s1").admin, 0, "nothing was told to the other");
    fake.fail_next(1, Fault::Starting);
    let error = client.inventory(&names).await.unwrap_err();
    assert!(matches!(error, RuntimeError::NoWorker { .. }), "{error}");
    // As a master says whose worker ends while it is asked.
    fake.fail_next(1, Fault::Answer(b"Can't connect to the target CLI!\n".to_vec()));
    let error = client.inventory(&names).await.unwrap_err();
    assert!(matches!(error, RuntimeError::NoWorker { .. }), "{error}");
}

/// Which weights a backend takes HAProxy does not show; it is tried, where that can be.
#[tokio::test]
async fn what_this_haproxy_can_do_is_known_from_the_first_reading_on() {
    let backends = [
        ("roundrobin", "roundrobin", Some(true)),
        ("static", "static-rr", Some(false)),
        ("first", "first", Some(true)),
        ("random", "random", Some(true)),
        ("map", "source", Some(false)),
        ("consistent", "source\n    hash-type consistent", Some(true)),
        ("uri", "uri", Some(false)),
    ];
    let sections = backends.map(|(name, balance, _)| {
        format!("backend {name}\n    balance {balance}\n    server s1 127.0.0.1:1 weight 10\n")
    });
    let config =
        format!("global\n    stats socket {{dir}}/operator.sock level operator\n{}", sections.concat());
    let Some(mut haproxy) = Haproxy::start(&config) else { return };
    let version = Haproxy::version().expect("it runs");
    let (names, client) = (Names::default(), client(&haproxy.socket()));
    assert_eq!(client.capabilities(), None);
    let inventory = client.inventory(&names).await.unwrap();
    let known = client.capabilities().expect("it was asked");
    assert_eq!((known.level, known.process.pid), (Level::Admin, haproxy.pid()));
    for row in &TABLE {
        let is_since = |since: &[u32; 3]| version >= since.to_vec();
        let also = row.also.iter().any(|since| version[..2] == since[..2] && is_since(since));
        assert_eq!(known.has(row.ability), is_since(&row.since) || also, "{} in {version:?}", row.what);
    }
    for ((name, balance, dynamic), found) in backends.iter().zip(&inventory.backends) {
        let told = matches!(*balance, "roundrobin" | "static-rr" | "first");
        let want = dynamic.filter(|_| told || known.has(Ability::AddServer));
        assert_eq!((&*names.of_backend(found.id), found.dynamic), (*name, want));
        // It is so: this is what the first weight would be answered.
        let weight = client.run(&weights(&[(&format!("{name}/s1"), 7)])).await;
        assert_eq!(weight.is_ok(), *dynamic == Some(true), "{name}");
    }
    assert!(inventory.backends.iter().all(|backend| backend.servers.len() == 1), "nothing was added");

    let operator = self::client(&haproxy.dir().join("operator.sock"));
    let inventory = operator.inventory(&names).await.unwrap();
    assert_eq!(operator.capabilities().expect("it was asked").level, Level::Operator);
    let told = |name: &str| inventory.backends.iter().find(|found| *names.of_backend(found.id) == *name);
    assert_eq!(told("map").and_then(|found| found.dynamic), None, "an operator cannot try");

    haproxy.reload();
    client.inventory(&names).await.unwrap();
    assert_eq!(client.capabilities().expect("it was asked").process.pid, haproxy.pid());
}

#[tokio::test]
async fn every_kind_of_server_is_seen_for_what_it_is() {
    let origin = Origin::start();
    let config = format!(
        "backend web\n    balance leastconn\n    cookie SRV insert\n    \
         server plain 127.0.0.1:{port} weight 3\n    \
         server full 127.0.0.1:{port} check inter 50ms maxconn 20 ssl verify none\n    \
         server spare 127.0.0.1:{port} check disabled\n    \
         server reserve 127.0.0.1:{port} backup\n    \
         server shadow 127.0.0.1:{port} track web/spare\n    \
         server six ::1:{port} agent-check agent-port 1\n    \
         server path {{dir}}/none.sock\n    \
         server lost lost.invalid:80 init-addr none\n",
        port = origin.port()
    );
    let Some(haproxy) = Haproxy::start(&config) else { return };
    let client = client(&haproxy.socket());
    let names = Names::default();
    let inventory = client.inventory(&names).await.unwrap();
    let server = |name: &str| find(&inventory, &names, &format!("web/{name}"));

    let plain = server("plain");
    assert!(
        plain.is_serving()
            && !plain.checked
            && !plain.check_passed
            && !plain.backup
            && plain.tracks.is_none()
    );
    assert_eq!((plain.weight.value(), plain.maxconn, plain.port), (3, None, origin.port()));
    assert_eq!(plain.address, Some([127, 0, 0, 1].into()));

    let full = server("full");
    assert!(full.checked);
    assert_eq!(full.maxconn, Some(20));
    // HAProxy tells about `ssl` since 2.4.
    assert_ne!(full.tls, Some(false));
    assert_ne!(plain.tls, Some(true));

    let spare = server("spare");
    assert_eq!(spare.state(), AdminState::Maint);
    assert!(spare.admin.is_declared_disabled() && !spare.admin.is_foreign_maint());
    assert!(spare.checked && !spare.check_passed);

    assert!(server("reserve").backup && !server("reserve").is_serving());
    let shadow = server("shadow");
    assert!(shadow.tracks.is_some() && shadow.admin.is_foreign_maint());
    assert_eq!(server("six").address, Some("::1".parse().unwrap()));
    assert!(server("six").agent_checked && !plain.agent_checked);
    assert!(server("lost").by_name && !plain.by_name);
    assert_eq!(server("path").address, None);
    assert_eq!((server("lost").address, server("lost").state()), (None, AdminState::Maint));
    assert_eq!(inventory.backends[0].algorithm, "leastconn");
    assert!(inventory.backends[0].cookie == Cookie::Unvalued && inventory.backends[0].mode == "http");
}

/// A server leaves MAINT by way of DRAIN; its check passed long ago, or never.
async fn leaves_maint_unchecked(check: &str) {
    let origin = Origin::start();
    let config = format!(
        "backend web\n    server s1 127.0.0.1:{port}\n    server s2 127.0.0.1:{port} check inter 300ms {check}",
        port = origin.port()
    );
    let Some(haproxy) = Haproxy::start(&config) else { return };
    let client = client(&haproxy.socket());
    let passed = async || look(&client, "web/s2").await.check_passed;
    eventually("the first check has passed", PATIENCE, passed).await;
    run(&client, &set("web/s2", AdminState::Maint)).await;
    assert!(!look(&client, "web/s2").await.check_passed, "in MAINT");

    let port = origin.port();
    drop(origin);
    run(&client, &Command::DrainUntilChecked { server: server_name("web/s2") }).await;
    let down = async || {
        let server = look(&client, "web/s2").await;
        assert_eq!(server.state(), AdminState::Drain);
        assert!(!server.check_passed, "nobody listens: {server:?}");
        server.operational == OperationalState::Stopped
    };
    eventually("the check has failed", PATIENCE, down).await;

    let _origin = Origin::start_on(port);
    eventually("the check has passed again", PATIENCE, passed).await;
    assert!(look(&client, "web/s2").await.is_up());
}

#[tokio::test]
async fn a_server_out_of_maint_is_not_taken_for_checked() {
    leaves_maint_unchecked("rise 2 fall 3").await;
}

#[tokio::test]
async fn not_even_where_one_failed_check_is_enough() {
    leaves_maint_unchecked("rise 1 fall 1").await;
}

/// HAProxy has it (3.1), or `init-state` cannot be in the configuration.
fn knows_init_state() -> bool {
    Haproxy::takes("backend web\n    server s1 127.0.0.1:1 check init-state up").unwrap_or_default()
}

#[tokio::test]
async fn nor_for_healthy_whatever_its_init_state_says() {
    if !knows_init_state() {
        return;
    }
    let states = ["up", "fully-up", "down", "fully-down"];
    let line = |state: &&str| {
        format!("    server {state} 127.0.0.1:1 check inter 10m init-state {state} disabled\n")
    };
    let Some(haproxy) =
        Haproxy::start(&format!("backend web\n{}", states.iter().map(line).collect::<String>()))
    else {
        return;
    };
    let client = client(&haproxy.socket());
    for state in states {
        let name = format!("web/{state}");
        run(&client, &Command::DrainUntilChecked { server: server_name(&name) }).await;
        let server = look(&client, &name).await;
        assert!(!server.is_up() && !server.check_passed, "{server:?}");
    }
}

/// The manual says that it would be UP then.
#[tokio::test]
async fn a_server_whose_check_is_switched_off_stays_as_it_is_and_is_not_taken_for_checked() {
    let origin = Origin::start();
    let config = format!(
        "backend web\n    server dead 127.0.0.1:1 check inter 100ms\n    server well 127.0.0.1:{} check inter 100ms",
        origin.port()
    );
    let Some(haproxy) = Haproxy::start(&config) else { return };
    let client = client(&haproxy.socket());
    let is_down = async || !look(&client, "web/dead").await.is_up();
    eventually("its check has failed", PATIENCE, is_down).await;
    let has_passed = async || look(&client, "web/well").await.check_passed;
    eventually("its check has passed", PATIENCE, has_passed).await;
    for (name, serves) in [("web/dead", false), ("web/well", true)] {
        assert_eq!(haproxy.ask(&format!("disable health {name}")), "\n");
        let server = look(&client, name).await;
        assert!(!server.checked && !server.check_passed, "{server:?}");
        assert_eq!(server.is_serving(), serves, "{server:?}");
    }
}

#[tokio::test]
async fn a_backend_that_was_unpublished_is_read_as_ever() {
    let Some(haproxy) = Haproxy::start("backend web\n    server s1 127.0.0.1:1") else { return };
    if !haproxy.ask("help unpublish").contains("unpublish backend") {
        return;
    }
    haproxy.ask("unpublish backend web");
    assert!(haproxy.ask("show stat").contains("UP (UNPUB)"));
    assert!(look(&client(&haproxy.socket()), "web/s1").await.is_serving());
}

// --- Servers that come and go.

/// HAProxy with the server s1 in `web` at `port`, if it adds servers.
fn adding(port: u16, lines: &str) -> Option<Haproxy> {
    if Haproxy::version()? < vec![2, 6] {
        return None;
    }
    Haproxy::start(&format!(
        "frontend users\n    bind 127.0.0.1:{port}\n    default_backend web\nbackend web\n{lines}    server s1 127.0.0.1:1 disabled"
    ))
}

async fn add(client: &Client, server: &str, port: u16, keywords: &Keywords) {
    let (server, address) = (server_name(server), ([127, 0, 0, 1], port).into());
    run(client, &Command::AddServer { server, address, keywords: keywords.clone() }).await;
}

/// As the agent deletes one: where HAProxy can tell, not before nothing holds on to it.
async fn delete(client: &Client, server: &str) {
    let (wait, delete) = (
        Command::AwaitRemovable { server: server_name(server), within: PATIENCE },
        Command::DeleteServer { server: server_name(server) },
    );
    if client.capabilities().expect("it was asked").has(Ability::Wait) {
        run(client, &wait).await;
    }
    eventually("it can be deleted", PATIENCE, async || client.run(&delete).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_has_the_id_of_one_that_was_deleted_is_another_one() {
    let Some(haproxy) = adding(free_port(), "") else { return };
    let client = client(&haproxy.socket());
    let number = |server: &str| {
        let answer = haproxy.ask("show servers state web");
        let row = answer.lines().find(|row| row.contains(&format!(" {server} ")));
        row.and_then(|row| row.split(' ').nth(2)).map(str::to_owned)
    };
    look(&client, "web/s1").await;
    add(&client, "web/old", 2, &Keywords::new("weight 7").unwrap()).await;
    let (old, before) = (look(&client, "web/old").await, number("old"));
    delete(&client, "web/old").await;
    add(&client, "web/new", 3, &Keywords::default()).await;
    assert_eq!(number("new"), before, "HAProxy gives it again");
    let new = look(&client, "web/new").await;
    assert_eq!((old.port, old.weight.value()), (2, 7));
    assert_eq!((new.port, new.weight.value(), new.state()), (3, 1, AdminState::Maint));
}

/// From 3.3 on HAProxy deletes no server that has some.
#[tokio::test]
async fn a_server_with_idle_connections_is_deleted_all_the_same() {
    let (port, origin) = (free_port(), Origin::start());
    let Some(haproxy) = adding(port, "    http-reuse always\n") else { return };
    let client = client(&haproxy.socket());
    look(&client, "web/s1").await;
    add(&client, "web/new", origin.port(), &Keywords::default()).await;
    run(&client, &set("web/new", AdminState::Ready)).await;
    support::request(port, 0..3);
    run(&client, &set("web/new", AdminState::Maint)).await;
    delete(&client, "web/new").await;
    assert!(!haproxy.ask("show servers state web").contains(" new "));
}

/// HAProxy takes 64 words, and up to 3.0 drops what is beyond them without a word.
#[tokio::test]
async fn an_added_server_gets_the_last_of_all_the_keywords_that_it_may_have() {
    let Some(haproxy) = adding(free_port(), "") else { return };
    let client = client(&haproxy.socket());
    look(&client, "web/s1").await;
    let words = |many: usize| "inter 1s ".repeat(many / 2 - 1) + "weight 7";
    let most = (1..99).map(|n| 2 * n).take_while(|&n| Keywords::new(&words(n)).is_ok()).last();
    // Its value in a cookie comes on top of them.
    let keywords = Keywords::new(&words(most.expect("some are taken"))).unwrap().with("maxconn", "9");
    add(&client, "web/new", 2, &keywords).await;
    let server = look(&client, "web/new").await;
    assert_eq!((server.weight.value(), server.maxconn), (7, Some(9)));
}

#[tokio::test]
async fn sessions_and_queues_are_counted() {
    let origin = Origin::start();
    origin.set_delay(NEVER);
    let port = free_port();
    let config = format!(
        "frontend in\n    bind 127.0.0.1:{port}\n    default_backend web\n\
         backend web\n    server s1 127.0.0.1:{} maxconn 2",
        origin.port()
    );
    let Some(haproxy) = Haproxy::start(&config) else { return };
    let client = client(&haproxy.socket());
    let mut requests: Vec<TcpStream> =
        (0..5).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    for request in &mut requests {
        request.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    let names = Names::default();
    let web = Name::new("web").unwrap();
    let counted = async || {
        let inventory = client.backend_inventory(&web, &names).await.unwrap();
        let (backend, server) = (&inventory.backends[0], find(&inventory, &names, "web/s1"));
        server.sessions == 2 && backend.sessions == 5 && backend.queued + server.queued == 3
    };
    eventually("2 sessions are on the server and 3 wait", PATIENCE, counted).await;
    assert_eq!(client.inventory(&names).await.unwrap().backends[0].total_sessions, 5);
}

#[tokio::test]
async fn a_tcp_socket_is_as_good_as_a_unix_socket() {
    let port = free_port();
    let config = format!(
        "global\n    stats socket ipv4@127.0.0.1:{port} level admin\nbackend web\n    server s1 127.0.0.1:1"
    );
    let Some(_haproxy) = Haproxy::start(&config) else { return };
    for address in [format!("localhost:{port}"), format!("ipv4@127.0.0.1:{port}")] {
        let client = Client::new(address.parse::<Address>().unwrap(), PATIENCE);
        run(&client, &set("web/s1", AdminState::Drain)).await;
        assert_eq!(look(&client, "web/s1").await.state(), AdminState::Drain);
    }
}

#[tokio::test]
async fn a_master_hands_everything_on_to_its_worker() {
    let Some(mut haproxy) =
        Haproxy::start_with_master("backend web\n    server s1 127.0.0.1:1\n    server s2 127.0.0.1:1")
    else {
        return;
    };
    let master = format!("master:{}", haproxy.master_socket().display());
    let client = Client::new(master.parse::<Endpoint>().unwrap(), PATIENCE);
    for _ in 0..2 {
        assert_eq!(client.process().await.unwrap().pid, haproxy.pid());
        assert_eq!(client.socket_level().await.unwrap(), Level::Admin);
        run(&client, &set("web/s1", AdminState::Drain)).await;
        run(&client, &weights(&[("web/s1", 7), ("web/s2", 9)])).await;
        let (s1, s2) = (look(&client, "web/s1").await, look(&client, "web/s2").await);
        assert_eq!((s1.state(), s1.weight.value(), s2.weight.value()), (AdminState::Drain, 7, 9));
        refused(client.run(&set("web/s9", AdminState::Drain)).await, &Refusal::NoSuchServer);
        refused(client.run(&weights(&[("web/s1", 1), ("web/s9", 1)])).await, &Refusal::NoSuchServer);
        haproxy.reload();
        eventually("the new worker answers", PATIENCE, async || {
            client.process().await.is_ok_and(|process| process.pid == haproxy.pid())
        })
        .await;
    }
}

#[tokio::test]
async fn a_master_that_is_not_called_one_is_told() {
    let Some(haproxy) = Haproxy::start_with_master("backend web\n    server s1 127.0.0.1:1") else { return };
    let error = impatient(&haproxy.master_socket()).inventory(&Names::default()).await.unwrap_err();
    let address = haproxy.master_socket().display().to_string();
    assert!(error.to_string().ends_with(&format!("write `master:{address}`")), "{error}");
}

#[tokio::test]
async fn one_backend_is_read_even_if_a_frontend_has_its_name() {
    if Haproxy::version().is_some_and(|version| version[..2] >= [3, 3][..]) {
        // It may not have it.
        return;
    }
    let port = free_port();
    let config = format!(
        "frontend web\n    bind 127.0.0.1:{port}\n    default_backend web\n\
         backend web\n    server s1 127.0.0.1:1\n    server s2 127.0.0.1:1\n\
         backend api\n    server s1 127.0.0.1:1"
    );
    let Some(haproxy) = Haproxy::start(&config) else { return };
    let (client, names) = (client(&haproxy.socket()), Names::default());
    for (backend, servers) in [("web", 2), ("api", 1)] {
        let inventory = client.backend_inventory(&Name::new(backend).unwrap(), &names).await.unwrap();
        assert_eq!(inventory.backends.len(), 1);
        assert_eq!(inventory.backends[0].id, names.backend(backend).unwrap());
        assert_eq!(inventory.backends[0].servers.len(), servers);
    }
    let error = client.backend_inventory(&Name::new("nope").unwrap(), &names).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::NoSuchBackend), "{error:?}");
}

#[tokio::test]
async fn a_socket_with_severity_output_is_understood() {
    let config = "global\n    stats socket {dir}/loud.sock level operator severity-output number\n\
                  backend web\n    server s1 127.0.0.1:1";
    let Some(haproxy) = Haproxy::start(config) else { return };
    let client = client(&haproxy.dir().join("loud.sock"));
    assert_eq!(client.socket_level().await.unwrap(), Level::Operator);
    refused(client.run(&set("web/s1", AdminState::Drain)).await, &Refusal::PermissionDenied);
    assert!(look(&client, "web/s1").await.is_serving());
}

#[tokio::test]
async fn more_questions_than_connections_are_all_answered() {
    let Some(haproxy) = Haproxy::start("backend web\n    server s1 127.0.0.1:1") else { return };
    let client = client(&haproxy.socket());
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        asked.spawn(async move { client.process().await });
    }
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.unwrap().unwrap().pid, haproxy.pid());
    }
}

#[tokio::test]
async fn a_haproxy_that_is_gone_is_told_with_what_to_do() {
    let Some(mut haproxy) = Haproxy::start("backend web\n    server s1 127.0.0.1:1") else { return };
    let socket = haproxy.socket();
    haproxy.kill();
    let error = client(&socket).process().await.unwrap_err();
    let refused = format!("cannot connect to `{}`; is HAProxy running?", socket.display());
    assert_eq!(error.to_string(), refused);
    std::fs::remove_file(&socket).unwrap();
    let error = client(&socket).process().await.unwrap_err();
    assert!(error.to_string().contains("is there a `stats socket` line with this path"), "{error}");
    haproxy.start_again();
    assert_eq!(client(&socket).process().await.unwrap().pid, haproxy.pid());
}

// --- One that misbehaves.

/// What becomes of a change and of a reading that get `fault`.
async fn misbehaves(fault: Fault, check: impl Fn(&RuntimeError) -> bool) {
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    fake.always(fault.clone());
    let patient = client(&fake.socket());
    // Only where no answer comes it is time that ends it.
    let hangs = matches!(fault, Fault::Hang | Fault::HangMidway);
    let client = if hangs { impatient(&fake.socket()) } else { patient.clone() };
    for error in [
        client.run(&weights(&[("web/s1", 5), ("web/s2", 6)])).await.unwrap_err(),
        client.inventory(&Names::default()).await.unwrap_err(),
        client.socket_level().await.unwrap_err(),
    ] {
        assert!(check(&error), "{fault:?}: {error:?}");
    }
    fake.fail_next(0, fault);
    assert!(patient.inventory(&Names::default()).await.is_ok(), "it is well again");
}

#[tokio::test]
async fn one_that_hangs_runs_into_the_deadline() {
    let timed_out =
        |error: &RuntimeError| matches!(error, RuntimeError::TimedOut { during: Phase::Reading, .. });
    misbehaves(Fault::Hang, timed_out).await;
    misbehaves(Fault::HangMidway, timed_out).await;
}

#[tokio::test]
async fn one_that_closes_before_the_end_is_not_taken_for_done() {
    let closed = |error: &RuntimeError| matches!(error, RuntimeError::ClosedMidway { .. });
    misbehaves(Fault::CloseSilently, closed).await;
    misbehaves(Fault::CloseMidway, closed).await;
}

#[tokio::test]
async fn an_old_worker_is_known_and_what_it_was_told_does_not_count() {
    let old = |error: &RuntimeError| matches!(error, RuntimeError::OldWorker { pid: 4711, .. });
    let fake = FakeHaproxy::start(&[("web", &["s1", "s2"])]);
    let client = client(&fake.socket());
    fake.fail_next(3, Fault::OldWorker);
    assert!(old(&client.run(&set("web/s1", AdminState::Drain)).await.unwrap_err()));
    let (names, web) = (Names::default(), Name::new("web").unwrap());
    assert!(old(&client.inventory(&names).await.unwrap_err()));
    assert!(old(&client.backend_inventory(&web, &names).await.unwrap_err()));
    assert!(look(&client, "web/s1").await.is_serving());
}

#[tokio::test]
async fn garbage_is_not_taken_for_an_answer() {
    let garbage = b"HTTP/1.0 400 Bad request\r\n\xff\xfe\x00\n\n".to_vec();
    misbehaves(Fault::Answer(garbage), |error| {
        matches!(
            error,
            RuntimeError::Garbage { .. } | RuntimeError::Refused { refusal: Refusal::Other(_), .. }
        )
    })
    .await;
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let fake = FakeHaproxy::start(&[("web", &["s1"])]);
    fake.always(Fault::Endless);
    let error = client(&fake.socket()).inventory(&Names::default()).await.unwrap_err();
    assert!(matches!(error, RuntimeError::TooLong { .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_backlog_runs_into_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full.sock");
    let family = socket::AddressFamily::Unix;
    let listener = socket::socket(family, socket::SockType::Stream, socket::SockFlag::empty(), None).unwrap();
    socket::bind(listener.as_raw_fd(), &socket::UnixAddr::new(&path).unwrap()).unwrap();
    socket::listen(&listener, socket::Backlog::new(0).unwrap()).unwrap();
    let _first_in_the_backlog = std::os::unix::net::UnixStream::connect(&path).unwrap();

    let error = impatient(&path).process().await.unwrap_err();
    assert!(matches!(error, RuntimeError::TimedOut { during: Phase::Connecting, .. }), "{error:?}");
}

#[test]
fn the_harness_notices_what_never_happens() {
    let waited = std::panic::catch_unwind(|| wait_until("pigs fly", Duration::from_millis(20), || false));
    let message = waited.unwrap_err();
    assert_eq!(message.downcast_ref::<String>().unwrap(), "waited 20ms in vain until pigs fly");
}

#[test]
fn the_harness_has_an_origin_that_answers() {
    let origin = Origin::start();
    origin.set_status(503);
    let mut stream = TcpStream::connect(("127.0.0.1", origin.port())).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(origin.requests(), 1);
}
