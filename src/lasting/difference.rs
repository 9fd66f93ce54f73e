//! Whether a new configuration asks for more than the running HAProxy can be told.
//!
//! States, weights and addresses of servers it has already. All else takes a reload: other lines,
//! other options, servers that came or went.

use super::declared::{Declared, Lines, Section};
use super::line::{ServerLine, literal};
use crate::core::controller::{BackendStanding, ServerStanding};

/// Whether HAProxy, which runs on `old` and whose servers stand as `standing` says, has to be reloaded for `new`.
pub(super) fn needs_reload(old: &[u8], new: &[u8], standing: &[BackendStanding]) -> bool {
    let declared = Declared::read(new);
    // HAProxy has deleted it already, or is about to.
    let is_gone = |backend: &str, server: &str| {
        standing.iter().any(|known| known.backend == backend)
            && self::server(standing, backend, server).is_none()
            && declared.server(backend, server).is_none()
    };
    meaning(old, standing, &is_gone) != meaning(new, standing, &|_, _| false)
}

fn server<'a>(standing: &'a [BackendStanding], backend: &str, server: &str) -> Option<&'a ServerStanding> {
    let backend = standing.iter().find(|known| known.backend == backend)?;
    backend.servers.iter().find(|known| known.server == server)
}

/// The words of all lines but what may change at run time, and without servers that are gone or were added.
fn meaning(
    text: &[u8],
    standing: &[BackendStanding],
    is_gone: &dyn Fn(&str, &str) -> bool,
) -> Vec<Vec<String>> {
    let lines = Lines::new(text).filter(|line| !line.words.is_empty());
    let lines = lines.filter_map(|line| match (&line.section, ServerLine::read(line.bytes)) {
        (Section::Proxy(backend), Some(read)) => {
            let known = server(standing, backend, read.name());
            if is_gone(backend, read.name()) || known.is_some_and(|known| known.added().is_some()) {
                return None;
            }
            let mut words = vec!["server".to_owned(), read.name().to_owned()];
            let is_told = known.is_some_and(|known| known.address.is_some());
            if literal(read.address()).is_none() || !is_told {
                words.push(read.address().to_owned());
            }
            words.extend(read.options().into_iter().map(str::to_owned));
            Some(words)
        }
        _ => Some(line.words.iter().map(|word| word.text.clone()).collect()),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::server;
    use super::*;
    use crate::core::controller::Origin;
    use crate::core::settings::spares::Keywords;

    const OLD: &str =
        "backend app\n    balance roundrobin\n    server s1 10.0.0.1:80 check\n    server s2 10.0.0.2:80\n";

    #[track_caller]
    fn check(new: &str, expected: bool) {
        let declared = |name, address| server(name, None, 1, address);
        let added = ServerStanding {
            origin: Origin::Added(Keywords::default()),
            ..server("a1", Some(false), 1, "10.0.0.4:80")
        };
        let servers = vec![declared("s1", "10.0.0.1:80"), declared("s2", "-"), added];
        let standing = [BackendStanding { backend: "app".to_owned(), servers }];
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
        check(&format!("{OLD}    server a1 10.0.0.4:80\n"), false);
        check(&format!("{OLD}    server s3 10.0.0.4:80\n"), true);
        check(&format!("{OLD}backend other\n    server a1 10.0.0.4:80\n"), true);
    }

    #[test]
    fn a_line_of_a_server_that_is_gone_takes_none() {
        let standing = [BackendStanding { backend: "app".to_owned(), servers: vec![] }];
        let new = OLD.replace("    server s2 10.0.0.2:80\n", "");
        assert!(!needs_reload(OLD.as_bytes(), new.as_bytes(), &standing));
        assert!(needs_reload(OLD.as_bytes(), new.as_bytes(), &[]));
    }
}
