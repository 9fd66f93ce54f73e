//! What `check` says of HAProxys that are not the same.

use std::fs;
use std::process::Command;

use super::support::Haproxy;

const ONE: &str = "\
backend app
    balance roundrobin
    server s1 127.0.0.1:1 check maxconn 9
    server s2 127.0.0.1:2 check maxconn 9 weight 5
    server s3 127.0.0.1:3 check maxconn 9
    server s4 127.0.0.1:4 check maxconn 9 disabled
    server s5 127.0.0.1:5 check maxconn 9 disabled
";

const OTHER: &str = "\
backend app
    balance leastconn
    server s1 127.0.0.1:9 maxconn 9
    server s2 127.0.0.1:2 check maxconn 9 weight 8
    server s3 127.0.0.1:3 check maxconn 20
    server s4 127.0.0.1:4 check maxconn 9
    server s6 127.0.0.1:6 check maxconn 9 disabled
";

/// What `check` prints for HAProxys with these configurations, with `A` and `B` for their sockets.
fn checked(configs: [&str; 2]) -> Option<String> {
    let nodes: Vec<Haproxy> = configs.into_iter().filter_map(Haproxy::start).collect();
    let [a, b] = &nodes[..] else { return None };
    let sockets = [a, b].map(|node| node.socket().display().to_string());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = dir.path().join("config.yaml");
    let text = format!(
        "state_dir: {0}\nruntime_dir: {0}\nhaproxy: {{ sockets: [{1}] }}\n\
         backends: [{{ name: app, target: {{ below: 250ms }} }}]\n",
        dir.path().display(),
        sockets.join(", ")
    );
    fs::write(&config, text).expect("the folder is ours");
    let output = Command::new(env!("CARGO_BIN_EXE_haproxy-autoscale"))
        .args(["check", "--config"])
        .arg(&config)
        .output()
        .expect("the binary was built for this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.replace(&sockets[0], "A").replace(&sockets[1], "B"))
}

#[test]
fn check_tells_in_what_they_differ() {
    let Some(found) = checked([ONE, OTHER]) else { return };
    for line in [
        "backend app: `balance roundrobin` on A, `balance leastconn` on B",
        "backend app: s5 is missing on B; s6 is missing on A",
        "backend app: not the same states everywhere: s4 (MAINT on A, READY on B)",
        "backend app: not the same weights everywhere: s2 (5 on A, 8 on B)",
        "backend app: not the same `maxconn` everywhere: s3 (9 on A, 20 on B)",
        "backend app: not the same health checks everywhere: s1 (checked on A, not checked on B)",
        "backend app: not the same addresses everywhere: s1 (127.0.0.1:1 on A, 127.0.0.1:9 on B)",
    ] {
        assert!(found.contains(&format!("warn  {line}\n      ")), "{line}\n{found}");
    }
    assert!(found.contains("backend app on B: no health check on s1"), "{found}");
    assert!(!found.contains("sockets: "), "they are of one version\n{found}");
}

#[test]
fn check_tells_that_they_are_the_same() {
    let Some(found) = checked([ONE, ONE]) else { return };
    assert!(found.contains("ok    backend app: the same on all 2 HAProxys\n"), "{found}");
    assert!(!found.contains("everywhere"), "{found}");
}
