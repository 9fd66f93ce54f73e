//! What the demo plays: four servers, a load that one of them cannot carry and three can, and
//! an agent in a hurry.

use std::path::Path;
use std::time::Duration;

use super::haproxy::BACKEND;
use super::server::{ColdStart, ServiceTime};

/// Declared servers; one serves at the start.
pub const SERVERS: usize = 4;

/// Requests a server works on at a time; with [`SERVICE`] it carries 50 requests a second.
pub const WORKERS: usize = 2;

/// How long a request takes on a server with nothing else to do.
pub const SERVICE: ServiceTime = ServiceTime { mean: Duration::from_millis(40), cv: 0.5 };

/// A server just started is slow until it has seen some requests; warm-up sends them.
pub const COLD: ColdStart = ColdStart { over: 4.0, factor: 4.0 };

/// `maxconn` of a server: those at work and as many at hand. All others wait in HAProxy, where a
/// server that is added can take them over.
pub const MAXCONN: u32 = 4;

/// The promise to clients.
pub const TARGET: Duration = Duration::from_millis(250);

/// Then a client gives up.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// Requests at a time on each side: as many as come at the peak while one has patience, and on
/// both sides together within 1024 file descriptors, the usual limit of a process.
pub const MOST_IN_FLIGHT: usize = 460;

/// How long the load is played.
pub const LENGTH: Duration = Duration::from_secs(62);

/// The load: at these seconds so many requests a second, and straight lines between them.
const LOAD: [(f64, f64); 5] = [(0.0, 20.0), (3.0, 20.0), (23.0, 115.0), (28.0, 115.0), (31.0, 15.0)];

/// Requests a second at the time `t` after the start.
pub fn rate(t: Duration) -> f64 {
    let t = t.as_secs_f64();
    let after = LOAD.iter().position(|(at, _)| *at > t);
    match after {
        None => LOAD[LOAD.len() - 1].1,
        Some(0) => LOAD[0].1,
        Some(next) => {
            let ((from, low), (to, high)) = (LOAD[next - 1], LOAD[next]);
            low + (high - low) * (t - from) / (to - from)
        }
    }
}

/// The timings of [`agent_config`], for people who watch.
pub const TIMINGS: &str = "fewer servers once they have been enough for 4s, then 2s on trial";

/// The timings of an agent whose config says nothing about them.
pub const DEFAULT_TIMINGS: &str =
    "fewer servers once they have been enough for 1 min and more, then 20s on trial";

/// The config of an agent whose HAProxy, state and sockets are all in `folder`.
pub fn agent_config(folder: &Path) -> String {
    // A JSON string is a YAML string, whatever the name of the folder.
    let quoted = |name: &str| serde_json::json!(folder.join(name).to_string_lossy()).to_string();
    format!(
        "# Made by `haproxy-autoscale demo`. The timings are short, so that it is over in a minute.
sources: [{log}]
haproxy:
  sockets: [{socket}]
state_dir: {state}
runtime_dir: {run}
tick: 250ms
backends:
  - name: {BACKEND}
    target: {{ timer: Tt, percentile: 95, below: {below}ms }}
    model: {{ hold: 4s, trial: 2s }}
    window: {{ length: 3s, min_samples: 20 }}
    scale_down: {{ drain_timeout: 5s }}
    warm_up: {{ path: /, requests: 12, concurrency: 4, timeout: 2s }}
",
        log = quoted("haproxy.log"),
        socket = quoted("admin.sock"),
        state = quoted("state"),
        run = quoted("run"),
        below = TARGET.as_millis(),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::folder::TempFolder;
    use super::*;
    use crate::config::Config;

    #[track_caller]
    fn check(second: f64, wanted: f64) {
        let found = rate(Duration::from_secs_f64(second));
        assert!((found - wanted).abs() < 0.01, "at {second} s: {found}, wanted {wanted}");
    }

    #[test]
    fn the_load_rises_and_falls_along_straight_lines() {
        for (second, wanted) in
            [(0.0, 20.0), (3.0, 20.0), (13.0, 67.5), (23.0, 115.0), (29.5, 65.0), (3600.0, 15.0)]
        {
            check(second, wanted);
        }
    }

    #[test]
    fn one_server_cannot_carry_the_peak_and_three_can() {
        let carries = |servers: usize| (servers * WORKERS) as f64 / SERVICE.mean.as_secs_f64();
        let peak = LOAD.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        assert!(2.0 * carries(1) < peak && peak < 0.8 * carries(3) && LENGTH.as_secs_f64() > LOAD[4].0);
        assert!(peak * PATIENCE.as_secs_f64() <= MOST_IN_FLIGHT as f64);
    }

    /// The timings of the backend in `config`, in the words of [`TIMINGS`].
    #[track_caller]
    fn timings(config: &str) -> String {
        let folder = TempFolder::create("scenario").unwrap();
        let path = folder.path().join("agent.yaml");
        fs::write(&path, config).unwrap();
        let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let backend = &config.backends[0];
        let (hold, trial) = (backend.model.hold, backend.model.trial);
        let hold = hold.map_or("1 min and more".to_owned(), |hold| format!("{hold:?}"));
        format!("fewer servers once they have been enough for {hold}, then {trial:?} on trial")
    }

    #[test]
    fn what_is_told_of_the_timings_is_true() {
        assert_eq!(timings(&agent_config(Path::new("/a folder: \"with\" # signs"))), TIMINGS);
        assert_eq!(timings("backends: [{name: app, target: {below: 250ms}}]"), DEFAULT_TIMINGS);
    }
}
