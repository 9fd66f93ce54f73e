//! What not every HAProxy can do with servers at run time.

use crate::core::plan::inventory::{BackendState, Process};

/// `add server` and `del server` as a matter of course. 2.4 and 2.5 have them in their experimental mode only, which
/// is no ground for operations.
const HAS_ADD: [u32; 3] = [2, 6, 0];

/// `wait ... srv-removable`.
const HAS_WAIT: [u32; 3] = [3, 0, 0];

/// Whether servers can be added to `backend` at run time.
///
/// Hash algorithms take them with `hash-type consistent` only, which cannot be seen from outside: they get the
/// benefit of the doubt, and a refusal is what tells (seen on HAProxy 2.6.12).
///
/// # Errors
/// Why not.
pub fn can_add_servers(process: &Process, backend: &BackendState) -> Result<(), &'static str> {
    if process.release().is_none_or(|release| release < HAS_ADD) {
        return Err("HAProxy before 2.6 adds no servers at run time");
    }
    match backend.algorithm.as_str() {
        "static-rr" => Err("`balance static-rr` takes no servers at run time"),
        _ => Ok(()),
    }
}

/// Whether HAProxy can wait for a server to be removable; others are asked again and again.
pub fn can_wait(process: &Process) -> bool {
    process.release().is_some_and(|release| release >= HAS_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: &str, algorithm: &str, adds: bool, waits: bool) {
        let process = Process { version: version.to_owned(), pid: 1, uptime_s: 0, stopping: false };
        let site = crate::core::plan::testing::Site::new(1);
        let backend = BackendState { algorithm: algorithm.to_owned(), ..site.backend };
        assert_eq!(can_add_servers(&process, &backend).is_ok(), adds, "{version} {algorithm}");
        assert_eq!(can_wait(&process), waits, "{version}");
    }

    #[test]
    fn servers_are_added_from_2_6_on_and_waited_for_from_3_0_on() {
        check("2.5.14", "roundrobin", false, false);
        check("2.6.12-1+deb12u4", "roundrobin", true, false);
        check("2.6.12", "static-rr", false, false);
        check("2.8.25", "source", true, false);
        check("3.0.11", "unknown", true, true);
        check("what?", "roundrobin", false, false);
    }
}
