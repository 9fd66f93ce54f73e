//! What the demo plays: four servers, a load that one of them cannot carry and three can, and
//! an agent in a hurry.

use std::time::Duration;

use super::haproxy::{BACKEND, Haproxy};
use super::server::{ColdStart, ServiceTime};

/// Declared servers; one serves at the start.
pub const SERVERS: usize = 4;

/// Requests a server works on at a time; with [`SERVICE`] it carries 100 requests a second.
pub const WORKERS: usize = 2;

/// How long a request takes on a server with nothing else to do.
pub const SERVICE: ServiceTime = ServiceTime { mean: Duration::from_millis(20), cv: 0.5 };

/// A server just started is slow until it has seen some requests; warm-up sends them.
pub const COLD: ColdStart = ColdStart { requests: 20, factor: 4.0 };

/// `maxconn` of a server: those at work and as many at hand. All others wait in HAProxy, where a
/// server that is added can take them over.
pub const MAXCONN: u32 = 4;

/// The promise to clients.
pub const TARGET: Duration = Duration::from_millis(150);

/// Then a client gives up.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// How long the load is played.
pub const LENGTH: Duration = Duration::from_secs(54);

/// The load: at these seconds so many requests a second, and straight lines between them.
const LOAD: [(f64, f64); 5] = [(0.0, 40.0), (7.0, 40.0), (14.0, 230.0), (26.0, 230.0), (32.0, 30.0)];

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

/// Short timings, for people who watch; in the words of the config.
pub const TIMINGS: &str = "window 5s, scale-up after 1s, scale-down after 3s, cooldowns 3s and 2s";

/// The agent's config: the reference's keys, all timings far shorter than the defaults.
pub fn agent_config(haproxy: &Haproxy) -> String {
    // A JSON string is a YAML string, whatever the name of the folder.
    let quoted = |name: &str| serde_json::json!(haproxy.folder().join(name).to_string_lossy()).to_string();
    format!(
        "# Made by `haproxy-autoscale demo`. The timings are short, so that it is over in a minute.
sources: [{log}]
haproxy:
  sockets: [{socket}]
state_dir: {state}
runtime_dir: {run}
tick: 500ms
backends:
  - name: {BACKEND}
    target: {{ timer: Tt, percentile: 95, below: {below}ms }}
    window: {{ length: 5s, min_samples: 20 }}
    scale_up: {{ stabilization_window: 1s, cooldown: 3s }}
    scale_down: {{ stabilization_window: 3s, cooldown: 2s, drain_timeout: 5s }}
    warm_up: {{ path: /, requests: 20, concurrency: 4, timeout: 2s }}
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
    use super::*;

    #[track_caller]
    fn check(second: f64, wanted: f64) {
        let found = rate(Duration::from_secs_f64(second));
        assert!((found - wanted).abs() < 0.01, "at {second} s: {found}, wanted {wanted}");
    }

    #[test]
    fn the_load_rises_and_falls_along_straight_lines() {
        for (second, wanted) in
            [(0.0, 40.0), (7.0, 40.0), (10.5, 135.0), (20.0, 230.0), (29.0, 130.0), (3600.0, 30.0)]
        {
            check(second, wanted);
        }
    }

    #[test]
    fn one_server_cannot_carry_the_peak_and_three_can() {
        let carries = |servers: usize| (servers * WORKERS) as f64 / SERVICE.mean.as_secs_f64();
        let peak = LOAD.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        assert!(carries(1) < peak && peak < 0.8 * carries(3) && LENGTH.as_secs_f64() > LOAD[4].0);
    }
}
