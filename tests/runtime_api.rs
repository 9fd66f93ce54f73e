//! The Runtime API's client against a real HAProxy, and against one that misbehaves.

mod support;

use support::{FakeHaproxy, Fault, Haproxy, Origin, ask};

#[test]
fn the_harness_starts_reloads_and_kills_a_real_haproxy() {
    let origin = Origin::start();
    let config = format!("backend web\n    server s1 127.0.0.1:{} check", origin.port());
    let Some(mut haproxy) = Haproxy::start(&config) else { return };
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
}
