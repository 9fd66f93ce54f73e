//! Answers about a spare's address that get lost, come late or are not true, which a real HAProxy does not do on demand.

use super::support::{Agent, FakeHaproxy, Fault, Origin, PATIENCE, wait_until};

/// A HAProxy, a server that its pool has the address of, and the agent.
struct Stage {
    fake: FakeHaproxy,
    _spare: Origin,
    address: String,
    agent: Agent,
}

impl Stage {
    /// With `servers` beside `s1`, each a slot without an address.
    fn start(version: &str, kind: &str, servers: &[&str]) -> Self {
        let spare = Origin::start();
        let address = format!("127.0.0.1:{}", spare.port());
        let names: Vec<&str> = ["s1"].iter().chain(servers).copied().collect();
        let fake = FakeHaproxy::start_as(version, &[("app", &names)]);
        for name in servers {
            fake.change(&format!("app/{name}"), |slot| {
                (slot.admin, slot.operational) = (5, 0);
                slot.address = "127.0.0.1:1".parse().expect("an address");
            });
        }
        let config = format!(
            "tick: 200ms\nhaproxy: {{ sockets: [{}], timeout: 500ms }}\nbackends:\n  - name: app\n\
             \x20   target: {{ below: 1s }}\n    policy: threshold\n\
             \x20   window: {{ length: 1s, min_samples: 10 }}\n    scale_up: {{ cooldown: 0s }}\n\
             \x20   scale_down: {{ cooldown: 0s, drain_timeout: 1s }}\n\
             \x20   servers: {{ s1: {{ always_up: true }} }}\n    spares: {{ kind: {kind}, pool: [{address}] }}\n",
            fake.socket().display()
        );
        let agent = Agent::start(&config, &["/tmp/no-such-directory/haproxy.log"]);
        wait_until("it knows HAProxy", PATIENCE, || agent.backend()["serving"] == 1);
        Self { fake, _spare: spare, address, agent }
    }

    /// The name of the server that is added.
    fn added(&self) -> String {
        format!("app/dyn-{}", self.address.replace(':', "-"))
    }

    #[track_caller]
    fn wait_until_serves(&self, server: &str) {
        wait_until("it serves at the pool's address", PATIENCE, || {
            self.fake.has(server) && {
                let found = self.fake.server(server);
                found.address.to_string() == self.address && found.admin & 0x09 == 0
            }
        });
    }

    /// How many lines have a command that begins so.
    fn sent(&self, command: &str) -> usize {
        let has = |line: &&String| line.split(';').any(|part| part.trim().starts_with(command));
        self.fake.commands().iter().filter(has).count()
    }

    /// The move is over, and nothing of it has failed.
    #[track_caller]
    fn check_moved(&self, event: &str) {
        wait_until("the move is over", PATIENCE, || {
            self.agent.has_journaled("event", event) && self.agent.is_still()
        });
        let failed = ["failed", "left_behind"].map(|event| self.agent.has_journaled("event", event));
        assert_eq!(failed, [false, false], "{:#?}", self.agent.journal());
    }
}

/// One is added and deleted again while what `command` is answered is lost to `fault`.
#[track_caller]
fn check_added(version: &str, command: &str, fault: &Fault) {
    let stage = Stage::start(version, "dynamic", &[]);
    let server = stage.added();
    stage.fake.fail_at(&format!("{command} {server}"), fault.clone());
    stage.agent.pin(2);
    stage.wait_until_serves(&server);
    stage.check_moved("serving");
    stage.agent.pin(1);
    wait_until("it is deleted", PATIENCE, || !stage.fake.has(&server));
    stage.check_moved("in_maint");
    assert!(stage.fake.has_struck(), "{version}, {command}, {fault:?}: {:#?}", stage.fake.commands());
    stage.agent.pin(2);
    stage.wait_until_serves(&server);
}

#[test]
fn a_server_is_added_and_deleted_whatever_becomes_of_the_answer() {
    for version in ["2.6.12", "2.8.25", "3.2.26"] {
        for command in ["add server", "del server"] {
            for fault in [Fault::CloseSilently, Fault::Late] {
                check_added(version, command, &fault);
            }
        }
    }
}

#[test]
fn an_address_whose_answer_is_lost_is_not_set_again() {
    for fault in [Fault::CloseSilently, Fault::CloseMidway] {
        let stage = Stage::start("2.2.9", "slots", &["app1"]);
        stage.fake.fail_at("set server app/app1 addr", fault);
        stage.agent.pin(2);
        stage.wait_until_serves("app/app1");
        assert_eq!(stage.sent("set server app/app1 addr"), 1);
        stage.check_moved("serving");
    }
}

#[test]
fn a_slot_that_has_not_got_the_address_that_haproxy_says_it_has_does_not_serve() {
    let stage = Stage::start("3.2.26", "slots", &["app1"]);
    stage.fake.reply_to("set server app/app1 addr", "port changed from '1' to '2' by 'stats socket command'");
    stage.agent.pin(2);
    wait_until("it is set again", PATIENCE, || stage.sent("set server app/app1 addr") > 2);
    assert_eq!(stage.fake.server("app/app1").admin, 5, "it stays in MAINT");
    stage.fake.reply_as_ever();
    stage.wait_until_serves("app/app1");
    stage.check_moved("serving");
}
