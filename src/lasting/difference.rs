//! Whether a new configuration asks for more than the running HAProxy can be told.
//!
//! States, weights and addresses of servers it has already. All else takes a reload: other lines,
//! other options, servers that came or went.

use super::declared::Lines;
use super::line::{ServerLine, literal};
use crate::core::controller::BackendStanding;

/// Whether HAProxy, which runs on `old` and whose servers stand as `standing` says, has to be reloaded for `new`.
pub(super) fn needs_reload(old: &[u8], new: &[u8], standing: &[BackendStanding]) -> bool {
    let addresses = |name: &str| {
        let servers = standing.iter().flat_map(|backend| &backend.servers);
        servers.filter(|server| server.server == name).any(|server| server.address.is_some())
    };
    meaning(old, &addresses) != meaning(new, &addresses)
}

/// The words of all lines but what may change at run time.
fn meaning(text: &[u8], is_told: &dyn Fn(&str) -> bool) -> Vec<Vec<String>> {
    let lines = Lines::new(text).filter(|line| !line.words.is_empty());
    let lines = lines.map(|line| match ServerLine::read(line.bytes) {
        Some(server) => {
            let mut words = vec!["server".to_owned(), server.name().to_owned()];
            if literal(server.address()).is_none() || !is_told(server.name()) {
                words.push(server.address().to_owned());
            }
            words.extend(server.options().into_iter().map(str::to_owned));
            words
        }
        None => line.words.iter().map(|word| word.text.clone()).collect(),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::controller::ServerStanding;
    use crate::core::units::Weight;

    const OLD: &str =
        "backend app\n    balance roundrobin\n    server s1 10.0.0.1:80 check\n    server s2 10.0.0.2:80\n";

    #[track_caller]
    fn check(new: &str, expected: bool) {
        let server = ServerStanding {
            server: "s1".to_owned(),
            disabled: None,
            weight: None,
            current_weight: Weight::ONE,
            initial_weight: Weight::ONE,
            is_out: false,
            address: Some([10, 0, 0, 1].into()),
            port: 80,
        };
        let standing = [BackendStanding { backend: "app".to_owned(), servers: vec![server] }];
        assert_eq!(needs_reload(OLD.as_bytes(), new.as_bytes(), &standing), expected, "{new}");
    }

    #[test]
    fn only_what_cannot_be_told_at_run_time_takes_a_reload() {
        check(OLD, false);
        check(&OLD.replace("check", "check disabled weight 5 # ours"), false);
        check(&format!("# made by hand\n\n{OLD}"), false);
        check(&OLD.replace("10.0.0.1:80", "10.0.0.9:81"), false);
        check(&OLD.replace("check", "check inter 1s"), true);
        check(&OLD.replace("roundrobin", "leastconn"), true);
        check(&OLD.replace("server s2", "server s3"), true);
        check(&OLD.replace("    server s2 10.0.0.2:80\n", ""), true);
    }
}
