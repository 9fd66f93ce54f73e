//! What a file may say. Types for serde and nothing else: what is left out is `None`, and the
//! default of a key is in `defaults.rs`. What each key means is in `config/haproxy-autoscale.yaml`.
//!
//! No `flatten` and no internally tagged enums: serde buffers those, and the line number is lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::lasting::{Keep, ReloadBy, ReloadWhen, Unit};
use super::log_format::{LogFormat, Pattern};
use super::nodes::Socket;
use super::percent::Percent;
use super::share::{SampleRate, Share};
use super::spares::{DefaultServerFile, Kind, Pool, ServerAddress};
use super::value::{BandEnd, Name, OrAll, OrAuto, OrNone, Value};
use super::warm_up::{HostName, RequestPath, Statuses};
use super::words::PlainStatistic;
use crate::core::settings::schedule::Times;
use crate::core::settings::{Policy, Timer, WarmUpMethod, WarmUpTls, Weights};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping of keys such as `backends`")]
pub(super) struct File {
    pub(super) sources: Option<Vec<Value<String>>>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) haproxy: Option<Haproxy>,
    pub(super) state_dir: Option<Value<PathBuf>>,
    pub(super) runtime_dir: Option<Value<PathBuf>>,
    pub(super) metrics: Option<Metrics>,
    pub(super) log_level: Option<Value<tracing::Level>>,
    pub(super) log_json: Option<Value<bool>>,
    pub(super) tick: Option<Value<Duration>>,
    pub(super) max_line_bytes: Option<Value<usize>>,
    pub(super) coverage: Option<Value<Share>>,
    pub(super) sample_rate: Option<Value<SampleRate>>,
    pub(super) backends: Option<Vec<Backend>>,
}

/// By what a running agent is found, whatever else the file says by now.
#[derive(Debug, Deserialize)]
pub(super) struct Places {
    pub(super) state_dir: Option<PathBuf>,
    pub(super) runtime_dir: Option<PathBuf>,
}

/// `log_format: {regex: ...}` or `log_format: {haproxy_cfg: ...}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with the key `haproxy_cfg` or `regex`")]
pub(super) struct CustomFormat {
    pub(super) haproxy_cfg: Option<Value<PathBuf>>,
    pub(super) regex: Option<Value<Pattern>>,
}

/// `haproxy:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with keys such as `sockets`")]
pub(super) struct Haproxy {
    pub(super) sockets: Option<Vec<Socket>>,
    pub(super) timeout: Option<Value<Duration>>,
    pub(super) config: Option<Value<PathBuf>>,
    pub(super) binary: Option<Value<PathBuf>>,
    pub(super) keep: Option<Value<Keep>>,
    pub(super) state_file: Option<Value<PathBuf>>,
    pub(super) template: Option<Value<PathBuf>>,
    pub(super) reload: Option<Reload>,
    pub(super) start: Option<Value<bool>>,
}

/// One of `haproxy.sockets:`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping such as `{address: /run/haproxy/admin.sock, keep: block}`"
)]
pub(super) struct Node {
    pub(super) address: Value<String>,
    pub(super) config: Option<Value<PathBuf>>,
    pub(super) binary: Option<Value<PathBuf>>,
    pub(super) keep: Option<Value<Keep>>,
    pub(super) state_file: Option<Value<PathBuf>>,
    pub(super) template: Option<Value<PathBuf>>,
    pub(super) reload: Option<Reload>,
    pub(super) start: Option<Value<bool>>,
}

/// `haproxy.reload:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{by: systemd, min_interval: 30s}`")]
pub(super) struct Reload {
    pub(super) by: Option<Value<ReloadBy>>,
    pub(super) when: Option<Value<ReloadWhen>>,
    pub(super) unit: Option<Value<Unit>>,
    pub(super) socket: Option<Value<PathBuf>>,
    pub(super) pid_file: Option<Value<PathBuf>>,
    pub(super) min_interval: Option<Value<Duration>>,
}

/// `metrics:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with the key `listen`")]
pub(super) struct Metrics {
    pub(super) listen: Option<Value<OrNone<SocketAddr>>>,
    pub(super) allow_remote: Option<Value<bool>>,
}

/// One of `backends:`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with the keys `name` and `target`")]
pub(super) struct Backend {
    pub(super) name: Value<Name>,
    pub(super) target: Target,
    pub(super) policy: Option<Value<Policy>>,
    pub(super) model: Option<Model>,
    pub(super) window: Option<Window>,
    pub(super) coverage: Option<Value<Share>>,
    pub(super) sample_rate: Option<Value<SampleRate>>,
    pub(super) band: Option<Band>,
    pub(super) ready: Option<Ready>,
    pub(super) scale_up: Option<ScaleUp>,
    pub(super) scale_down: Option<ScaleDown>,
    pub(super) warm_up: Option<WarmUp>,
    pub(super) hands_off: Option<Value<Duration>>,
    pub(super) outliers: Option<Outliers>,
    pub(super) weights: Option<Value<Weights>>,
    pub(super) spares: Option<Spares>,
    pub(super) servers: Option<BTreeMap<Value<Name>, Option<Server>>>,
}

/// `spares:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{kind: slots, pool: [10.0.0.4:80]}`")]
pub(super) struct Spares {
    pub(super) kind: Option<Value<Kind>>,
    pub(super) pool: Option<Pool>,
    pub(super) placeholder: Option<Value<OrAuto<SocketAddr>>>,
    pub(super) grow: Option<Grow>,
    pub(super) default_server: Option<DefaultServerFile>,
}

/// `grow:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{by: 4, to: 40}`")]
pub(super) struct Grow {
    pub(super) by: Option<Value<u32>>,
    pub(super) to: Option<Value<OrAll>>,
}

/// `pool: {file: ...}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with the key `file`")]
pub(super) struct PoolFile {
    pub(super) file: Value<PathBuf>,
}

/// One of `pool:`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{address: 10.0.0.4:80, name: web4}`")]
pub(super) struct Candidate {
    pub(super) address: Value<ServerAddress>,
    pub(super) name: Option<Value<Name>>,
    pub(super) warm_up: Option<WarmUp>,
}

/// `default_server: {haproxy_cfg: ...}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with the key `haproxy_cfg`")]
pub(super) struct HaproxyCfg {
    pub(super) haproxy_cfg: Value<PathBuf>,
}

/// `target:`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{timer: Tt, percentile: 95, below: 250ms}`")]
pub(super) struct Target {
    pub(super) timer: Option<Value<Timer>>,
    pub(super) percentile: Option<Value<f64>>,
    pub(super) statistic: Option<Value<PlainStatistic>>,
    pub(super) last: Option<Value<usize>>,
    pub(super) below: Value<Duration>,
}

/// `outliers:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{most: 34%, drain_after: 10m}`")]
pub(super) struct Outliers {
    pub(super) most: Option<Value<Percent>>,
    pub(super) drain_after: Option<Value<Duration>>,
}

/// `model:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{utilization_max: 80%}`")]
pub(super) struct Model {
    pub(super) utilization_max: Option<Value<Percent>>,
    pub(super) hold: Option<Value<OrAuto<Duration>>>,
    pub(super) hold_max: Option<Value<Duration>>,
    pub(super) min_off: Option<Value<Duration>>,
    pub(super) trial: Option<Value<Duration>>,
    pub(super) backlog: Option<Value<Duration>>,
    pub(super) band: Option<Value<Percent>>,
    pub(super) forecast: Option<Value<bool>>,
    pub(super) workers: Option<Value<OrAuto<f64>>>,
    pub(super) moves_per_hour: Option<Value<u32>>,
}

/// `window:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{length: 30s, min_samples: 50}`")]
pub(super) struct Window {
    pub(super) length: Option<Value<Duration>>,
    pub(super) min_samples: Option<Value<u64>>,
}

/// `band:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{lower: 40%, upper: 100%}`")]
pub(super) struct Band {
    pub(super) lower: Option<Value<BandEnd>>,
    pub(super) upper: Option<Value<BandEnd>>,
}

/// `ready:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{min: 1, max: all}`")]
pub(super) struct Ready {
    pub(super) min: Option<Value<u32>>,
    pub(super) max: Option<Value<OrAll>>,
    pub(super) schedule: Option<Vec<ScheduleEntry>>,
}

/// One of `ready.schedule:`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{at: Mon-Fri 08:00-18:00, min: 4}`")]
pub(super) struct ScheduleEntry {
    pub(super) at: Value<Times>,
    pub(super) min: Option<Value<u32>>,
    pub(super) max: Option<Value<OrAll>>,
}

/// `scale_up:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{cooldown: 30s, step: 1}`")]
pub(super) struct ScaleUp {
    pub(super) stabilization_window: Option<Value<Duration>>,
    pub(super) breaches: Option<Value<u32>>,
    pub(super) cooldown: Option<Value<Duration>>,
    pub(super) step: Option<Value<u32>>,
}

/// `scale_down:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{cooldown: 2m, step: 1}`")]
pub(super) struct ScaleDown {
    pub(super) stabilization_window: Option<Value<Duration>>,
    pub(super) idle_after: Option<Value<Duration>>,
    pub(super) cooldown: Option<Value<Duration>>,
    pub(super) step: Option<Value<u32>>,
    pub(super) drain_timeout: Option<Value<Duration>>,
    pub(super) sticky_quiet: Option<Value<Duration>>,
    pub(super) shutdown_sessions: Option<Value<OrNone<Duration>>>,
}

/// `warm_up:`, of a backend or of a server.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{path: /health, requests: 20}`")]
pub(super) struct WarmUp {
    pub(super) path: Option<Value<OrNone<RequestPath>>>,
    pub(super) method: Option<Value<WarmUpMethod>>,
    pub(super) host: Option<Value<OrNone<HostName>>>,
    pub(super) tls: Option<Value<WarmUpTls>>,
    pub(super) sni: Option<Value<OrNone<HostName>>>,
    pub(super) requests: Option<Value<u32>>,
    pub(super) concurrency: Option<Value<u32>>,
    pub(super) timeout: Option<Value<Duration>>,
    pub(super) statuses: Option<Value<Statuses>>,
    pub(super) ramp: Option<Value<Duration>>,
}

/// One of `servers:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{always_up: true, capacity: 2}`")]
pub(super) struct Server {
    pub(super) always_up: Option<Value<bool>>,
    pub(super) capacity: Option<Value<f64>>,
    pub(super) warm_up: Option<WarmUp>,
}
