//! What holds where the file says nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::log_format::LogFormat;
use super::percent::Percent;
use super::value::BandEnd;
use crate::core::settings::{
    LogSettings, Policy, ReadyLimits, ScaleDown, ScaleUp, Statistic, Target, Timer, WarmUp, WarmUpMethod,
    WarmUpTls, Weights, WindowSettings,
};
use crate::core::units::{Percentile, Ratio};

/// `target:`, but for `below`, which has no default. Tt and p95: what users wait, but for the unlucky
/// twentieth, whose figures jump about in a window of few requests.
pub(super) const fn target(below: Duration) -> Target {
    Target { timer: Timer::Tt, statistic: Statistic::Percentile(Percentile::P95), below }
}

/// Stands in for a `target.below` that was refused, while the rest of the file is looked at.
pub(super) const BELOW: Duration = Duration::from_millis(250);

/// `policy:`.
pub(super) const POLICY: Policy = Policy::Model;

/// `hands_off:`. Time for whoever did it to finish, and not so long that it is forgotten.
pub(super) const HANDS_OFF: Duration = Duration::from_secs(30 * 60);

/// `weights:`.
pub(super) const WEIGHTS: Weights = Weights::Keep;

/// Of `band.lower`. Of two servers that become one, that one gets twice the load; a band wider than
/// 1 to 2 keeps this from being undone at once.
pub(super) const BAND_LOWER: BandEnd = BandEnd::Share(Percent::new(40));

/// Of `band.upper`: the target itself.
pub(super) const BAND_UPPER: BandEnd = BandEnd::Share(Percent::new(100));

/// Of `capacity`: all servers are alike.
pub(super) const CAPACITY: f64 = 1.0;

/// The top of the file.
pub(super) fn config() -> Config {
    Config {
        sources: vec!["/var/log/haproxy.log".to_owned()],
        log_format: LogFormat::Auto,
        nodes: vec![super::nodes::default()],
        // HAProxy answers in milliseconds; it drops an idle connection after 10 s.
        socket_timeout: Duration::from_secs(5),
        state_dir: PathBuf::from("/var/lib/haproxy-autoscale"),
        runtime_dir: PathBuf::from("/run/haproxy-autoscale"),
        metrics_listen: None,
        log_level: tracing::Level::INFO,
        log_json: false,
        // Short against every window, long against an answer of HAProxy's.
        tick: Duration::from_secs(1),
        // HAProxy's longest line (`len 65535`), and room for what syslog puts before it.
        max_line_bytes: 128 * 1024,
        log: LOG,
        backends: Vec::new(),
        pools: BTreeMap::new(),
    }
}

/// `coverage:` and `sample_rate:`. A tenth may be missing: a frontend that does not log, connections that
/// are closed before they say anything (`option dontlognull`); what is left still tells.
pub(super) const LOG: LogSettings = LogSettings { coverage: Ratio::percent(90), sample_rate: Ratio::ALL };

/// `window:`.
pub(super) const WINDOW: WindowSettings = WindowSettings { length: Duration::from_secs(30), min_samples: 50 };

/// `ready:`.
pub(super) const READY: ReadyLimits = ReadyLimits { min: 1, max: None };

/// `scale_up:`, quick: users wait.
pub(super) const SCALE_UP: ScaleUp = ScaleUp {
    stabilization_window: Duration::from_secs(10),
    breaches: 0,
    cooldown: Duration::from_secs(30),
    step: 1,
};

/// `scale_down:`, slow: nobody waits for it, and a server too few is worse than one too many.
pub(super) const SCALE_DOWN: ScaleDown = ScaleDown {
    stabilization_window: Duration::from_secs(300),
    idle_after: Duration::from_secs(300),
    cooldown: Duration::from_secs(120),
    step: 1,
    drain_timeout: Duration::from_secs(60),
    sticky_quiet: Duration::from_secs(300),
    shutdown_sessions: None,
};

/// `warm_up:`; without a path no request is ever sent.
pub(super) fn warm_up() -> WarmUp {
    WarmUp {
        path: None,
        method: WarmUpMethod::Get,
        host: None,
        tls: WarmUpTls::Auto,
        sni: None,
        requests: 20,
        concurrency: 4,
        timeout: Duration::from_secs(5),
        statuses: (200, 399),
        ramp: Duration::ZERO,
    }
}
