//! Config files as operators write them: the examples that come with the agent, and what every
//! mistake is answered with.
//!
//! `UPDATE_GOLDEN=1 cargo test --test config` rewrites the expected errors; review them like code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use haproxy_autoscale::config::{
    Config, ConfigError, DefaultServer, Keep, Lasting, LogFormat, Mistake, NodeSettings, PoolSettings,
    PoolSource, ReloadBy, ReloadWhen, Reloading,
};
use haproxy_autoscale::core::plan::supply::Candidate;
use haproxy_autoscale::core::settings::schedule::{A_DAY, Days, Entry, Minute, Schedule, Times};
use haproxy_autoscale::core::settings::spares::{Grow, Keywords, Spares};
use haproxy_autoscale::core::settings::{
    BackendSettings, HysteresisBand, LogSettings, ModelSettings, OutlierSettings, Policy, ReadyLimits,
    ScaleDown, ScaleUp, ServerSettings, Statistic, Target, Timer, WarmUp, WarmUpMethod, WarmUpTls, Weights,
    WindowSettings,
};
use haproxy_autoscale::core::units::{Percentile, Ratio};
use proptest::prelude::*;

const REFERENCE: &str = include_str!("../config/haproxy-autoscale.yaml");
const MINIMAL: &str = include_str!("../config/minimal.yaml");

#[track_caller]
fn parsed(text: &str) -> Config {
    match Config::parse(text, Path::new("agent.yaml")) {
        Ok(config) => config,
        Err(error) => panic!("{error}\nin\n{text}"),
    }
}

#[track_caller]
fn refused(text: &str) -> ConfigError {
    match Config::parse(text, Path::new("agent.yaml")) {
        Ok(config) => panic!("{text}\nis taken for\n{config:?}"),
        Err(error) => error,
    }
}

#[test]
fn the_reference_says_what_holds_anyway() {
    assert_eq!(parsed(REFERENCE), parsed("backends: [{name: app, target: {below: 250ms}}]"));
}

#[test]
fn the_minimal_config_is_the_reference_in_short() {
    assert_eq!(parsed(MINIMAL), parsed(REFERENCE));
}

#[test]
fn no_file_is_a_config_without_backends() {
    let reference = Config { backends: Vec::new(), ..parsed(REFERENCE) };
    assert_eq!(Config::default(), reference);
}

/// The reference with its examples no longer commented out; both at once, where a file may have one.
fn with_examples() -> String {
    let reference = REFERENCE.replace("      schedule: []\n", "").replace("#schedule:", "schedule:");
    let reference = reference.replace("#  - { at:", "  - { at:");
    let (before, servers) = reference.split_once("    servers: {}\n").unwrap();
    let before = before.replace("#statistic:", "statistic:").replace("#last:", "last:");
    let before =
        before.replace("    #coverage:", "    coverage:").replace("    #sample_rate:", "    sample_rate:");
    format!("{before}{}", format!("\n{servers}").replace("\n    #", "\n    "))
}

#[test]
fn the_examples_in_the_reference_are_valid_too() {
    let text = with_examples();
    let only = |statistic: &str| {
        let others = ["      percentile: 95\n", "      statistic: mean\n", "      last: 15\n"];
        others
            .iter()
            .filter(|line| !line.contains(statistic))
            .fold(text.clone(), |text, line| text.replace(line, ""))
    };
    assert_eq!(parsed(&only("statistic")).backends[0].target.statistic, Statistic::Mean);
    assert_eq!(parsed(&only("last")).backends[0].target.statistic, Statistic::MeanOfLast(15));
    let backend = &parsed(&only("percentile")).backends[0];
    assert_eq!(backend.schedule.entries.len(), 2);
    assert_eq!(backend.servers.len(), 2);
    assert!(backend.servers["s1"].always_up);
    assert_eq!(backend.servers["s1"].capacity, 2.0);
    assert_eq!(backend.servers["s4"].warm_up.path.as_deref(), Some("/warm"));
}

/// All keys that a file may have, by the paths to them; `*` is any place in a list, any name of a server.
///
/// A key that cannot be is put in at each place, and the error names those that can.
fn known_keys() -> Vec<Vec<String>> {
    let mut keys = Vec::new();
    let mut mappings = vec![Vec::new()];
    while let Some(mapping) = mappings.pop() {
        for key in keys_in(&mapping).expect("only mappings are pushed") {
            let path = [mapping.clone(), vec![key]].concat();
            let inside = [vec![], vec!["[]".to_owned()], vec!["{}".to_owned()]];
            mappings.extend(
                inside
                    .map(|step| [path.clone(), step].concat())
                    .into_iter()
                    .find(|path| keys_in(path).is_some()),
            );
            keys.push(path);
        }
    }
    keys
}

/// The keys of the mapping at `path`; `None` if there is none.
fn keys_in(path: &[String]) -> Option<Vec<String>> {
    let text = path.iter().rev().fold("{zzz: 1}".to_owned(), |inner, step| match step.as_str() {
        "[]" => format!("[{inner}]"),
        "{}" => format!("{{zzz: {inner}}}"),
        key => format!("{{{key}: {inner}}}"),
    });
    match refused(&text) {
        ConfigError::Invalid { problems, .. } => match &problems[0].mistake {
            Mistake::UnknownKey { key, known } if key == "zzz" => Some(known.clone()),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn every_key_is_in_the_reference() {
    let reference: serde_yaml::Value = serde_yaml::from_str(&with_examples()).unwrap();
    let keys = known_keys();
    for deep in [
        &["backends", "[]", "servers", "{}", "capacity"][..],
        &["haproxy", "sockets", "[]", "reload", "by"],
        &["log_format", "regex"],
    ] {
        assert!(keys.iter().any(|path| path == deep), "{deep:?} is not among {keys:?}");
    }
    for path in keys {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path[..] {
            ["log_format", key @ ("regex" | "haproxy_cfg")] => {
                assert!(REFERENCE.contains(&format!("{{{key}: ")))
            }
            ["backends", "[]", "spares", "pool", "file"]
            | ["backends", "[]", "spares", "default_server", "haproxy_cfg"] => {
                assert!(REFERENCE.contains("{file: ") && REFERENCE.contains("{haproxy_cfg: "));
            }
            ["backends", "[]", "spares", "pool", "[]", "name" | "address" | "warm_up"] => {}
            // The same keys as in the backend's own.
            ["backends", "[]", "spares", "pool", "[]", "warm_up", _] => {}
            ["backends", "[]", "servers", "{}", "warm_up", _] => {}
            ["haproxy", "sockets", "[]", "address"] => assert!(REFERENCE.contains("{ address: ")),
            // The same keys as in `haproxy` itself.
            ["haproxy", "sockets", "[]", ref own @ ..] => {
                assert!(has(&reference, &[&["haproxy"], own].concat()), "{own:?} is not in the reference");
            }
            _ => assert!(has(&reference, &path), "{} is not in the reference", path.join(".")),
        }
    }
}

/// Whether `path` leads to something in `value`.
fn has(value: &serde_yaml::Value, path: &[&str]) -> bool {
    match path {
        [] => true,
        ["[]", rest @ ..] => value.as_sequence().unwrap().iter().any(|value| has(value, rest)),
        ["{}", rest @ ..] => value.as_mapping().unwrap().values().any(|value| has(value, rest)),
        [key, rest @ ..] => value.get(key).is_some_and(|value| has(value, rest)),
    }
}

#[test]
fn every_mistake_is_told_with_its_place_and_remedy() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut files: Vec<PathBuf> =
        fs::read_dir("fixtures/config").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 30, "only {} files in fixtures/config", files.len());
    let mut different = Vec::new();
    for path in files {
        let golden = path.with_extension("error");
        let printed = match Config::load(&path) {
            Ok(_) => "no error\n".to_owned(),
            Err(error) => format!("error: {error}\n").replace("fixtures/config/", ""),
        };
        if update {
            fs::write(&golden, &printed).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if printed != expected || printed == "no error\n" {
            different.push(format!("{}\n--- expected\n{expected}--- printed\n{printed}", path.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let error = Config::load(Path::new("/nonexistent/agent.yaml")).unwrap_err();
    let printed = error.to_string();
    assert!(printed.starts_with("there is no config file `/nonexistent/agent.yaml`\n"), "{printed}");
    let line = printed.split('`').nth(3).unwrap();
    assert_eq!(parsed(line).backends[0].name, "BACKEND");
}

#[test]
fn a_directory_is_told_by_name_and_cause() {
    let error = Config::load(Path::new("/")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read config file `/`");
    assert!(std::error::Error::source(&error).is_some());
}

/// Every key, each with a value that is no other key's and not its default.
const EVERY_KEY: &str = "
sources: [/a.log, '-']
log_format: { regex: '(?<backend>\\S+) (?<server>\\S+) (?<Tt>\\d+)' }
haproxy:
  sockets: ['127.0.0.1:9999']
  timeout: 7s
  config: /h.cfg
  binary: /opt/haproxy
  keep: block
  state_file: /servers.state
  template: /h.template
  reload: { by: binary, when: changed, unit: lb@1.service, socket: /master.sock, pid_file: /h.pid, min_interval: 8s }
  start: true
state_dir: /state
runtime_dir: /run/dir
metrics: { listen: '0.0.0.0:9101', allow_remote: true }
log_level: debug
log_json: true
tick: 2s
max_line_bytes: 2048
coverage: 80%
sample_rate: 1:4
backends:
  - name: web.1
    target: { timer: Tr, percentile: 99.9, below: 400ms }
    policy: model
    model:
      utilization_max: 70%
      hold: 41s
      hold_max: 42s
      min_off: 43s
      trial: 44s
      backlog: 45s
      band: 7%
      forecast: false
      workers: 4.5
      moves_per_hour: 46
    window: { length: 1m, min_samples: 3 }
    band: { lower: 10%, upper: 300ms }
    ready:
      min: 2
      max: 9
      schedule: [{ at: Mon-Fri 08:00-18:00, min: 4 }, { at: 1970-01-01..1970-01-03, max: all }]
    scale_up: { stabilization_window: 11s, breaches: 4, cooldown: 12s, step: 5 }
    scale_down: { stabilization_window: 13s, idle_after: 14s, cooldown: 15s, step: 6, drain_timeout: 16s, sticky_quiet: 51s, shutdown_sessions: 50s }
    warm_up:
      path: /health?x=1
      method: HEAD
      host: example.org:80
      tls: on
      sni: example.net
      requests: 30
      concurrency: 7
      timeout: 17s
      statuses: 204
      ramp: 18s
    sample_rate: 50%
    hands_off: 47m
    outliers: { most: 48%, drain_after: 49m }
    weights: by_capacity
    spares:
      kind: slots
      placeholder: 127.0.0.1:80
      grow: { by: 4, to: 40 }
      pool: [10.0.0.4:80, { address: '[::1]:81', name: web5, warm_up: { requests: 32 } }]
    servers:
      s1: { always_up: true, capacity: 1.5 }
      s2: { warm_up: { path: none, requests: 31 } }
      s3:
";

fn entry(words: &str, days: Days, (from, to): (Minute, Minute), limits: ReadyLimits) -> Entry {
    Entry { at: Times::new(words, days, from, to).unwrap(), limits }
}

#[test]
fn every_setting_reaches_its_place() {
    let seconds = Duration::from_secs;
    let warm_up = WarmUp {
        path: Some("/health?x=1".to_owned()),
        method: WarmUpMethod::Head,
        host: Some("example.org:80".to_owned()),
        tls: WarmUpTls::On,
        sni: Some("example.net".to_owned()),
        requests: 30,
        concurrency: 7,
        timeout: seconds(17),
        statuses: (204, 204),
        ramp: seconds(18),
    };
    let server = ServerSettings { always_up: false, capacity: 1.0, warm_up: warm_up.clone() };
    let own_warm_up = WarmUp { path: None, requests: 31, ..warm_up.clone() };
    let backend = BackendSettings {
        name: "web.1".to_owned(),
        target: Target {
            timer: Timer::Tr,
            statistic: Statistic::Percentile(Percentile::new(99.9).unwrap()),
            below: Duration::from_millis(400),
        },
        policy: Policy::Model,
        model: ModelSettings {
            utilization_max: 0.7,
            hold: Some(seconds(41)),
            hold_max: seconds(42),
            min_off: seconds(43),
            trial: seconds(44),
            backlog: seconds(45),
            band: 0.07,
            forecast: false,
            workers: Some(4.5),
            moves_per_hour: 46,
        },
        window: WindowSettings { length: seconds(60), min_samples: 3 },
        log: LogSettings { coverage: Ratio::percent(80), sample_rate: Ratio::percent(50) },
        band: HysteresisBand::new(Duration::from_millis(40), Duration::from_millis(300)).unwrap(),
        ready: ReadyLimits { min: 2, max: Some(9) },
        schedule: Schedule {
            entries: vec![
                entry(
                    "Mon-Fri 08:00-18:00",
                    Days::OfWeek([true, true, true, true, true, false, false]),
                    (8 * 60, 18 * 60),
                    ReadyLimits { min: 4, max: Some(9) },
                ),
                entry(
                    "1970-01-01..1970-01-03",
                    Days::Dates(0, 2),
                    (0, A_DAY),
                    ReadyLimits { min: 2, max: None },
                ),
            ],
        },
        scale_up: ScaleUp { stabilization_window: seconds(11), breaches: 4, cooldown: seconds(12), step: 5 },
        scale_down: ScaleDown {
            stabilization_window: seconds(13),
            idle_after: seconds(14),
            cooldown: seconds(15),
            step: 6,
            drain_timeout: seconds(16),
            sticky_quiet: seconds(51),
            shutdown_sessions: Some(seconds(50)),
        },
        warm_up,
        hands_off: seconds(47 * 60),
        outliers: OutlierSettings { most: 0.48, drain_after: seconds(49 * 60) },
        weights: Weights::ByCapacity,
        spares: Spares::Slots {
            placeholder: Some("127.0.0.1:80".parse().unwrap()),
            grow: Some(Grow { by: 4, to: Some(40) }),
        },
        servers: BTreeMap::from([
            ("s1".to_owned(), ServerSettings { always_up: true, capacity: 1.5, ..server.clone() }),
            ("s2".to_owned(), ServerSettings { warm_up: own_warm_up, ..server.clone() }),
            ("s3".to_owned(), server),
        ]),
    };
    let in_pool = WarmUp { requests: 32, ..backend.warm_up.clone() };
    let candidate = |address: &str, name: Option<&str>, warm_up| Candidate {
        address: address.parse().unwrap(),
        name: name.map(str::to_owned),
        warm_up,
    };
    let pool = PoolSettings {
        source: PoolSource::List(vec![
            candidate("10.0.0.4:80", None, None),
            candidate("[::1]:81", Some("web5"), Some(in_pool)),
        ]),
        default_server: DefaultServer::Given(Keywords::default()),
    };
    let expected = Config {
        sources: vec!["/a.log".to_owned(), "-".to_owned()],
        log_format: LogFormat::Regex("(?<backend>\\S+) (?<server>\\S+) (?<Tt>\\d+)".into()),
        nodes: vec![NodeSettings {
            socket: "127.0.0.1:9999".to_owned(),
            lasting: Lasting {
                config: "/h.cfg".into(),
                binary: "/opt/haproxy".into(),
                keep: Keep::Block,
                state_file: "/servers.state".into(),
                template: "/h.template".into(),
                reload: Reloading {
                    by: ReloadBy::Binary,
                    when: ReloadWhen::Changed,
                    unit: "lb@1.service".to_owned(),
                    socket: "/master.sock".into(),
                    pid_file: "/h.pid".into(),
                    min_interval: seconds(8),
                },
                start: true,
            },
        }],
        socket_timeout: seconds(7),
        state_dir: "/state".into(),
        runtime_dir: "/run/dir".into(),
        metrics_listen: Some("0.0.0.0:9101".parse().unwrap()),
        log_level: tracing::Level::DEBUG,
        log_json: true,
        tick: seconds(2),
        max_line_bytes: 2048,
        log: LogSettings { coverage: Ratio::percent(80), sample_rate: Ratio::percent(25) },
        backends: vec![backend],
        pools: BTreeMap::from([("web.1".to_owned(), pool)]),
    };
    assert_eq!(parsed(EVERY_KEY), expected);
}

#[test]
fn added_servers_have_keywords_of_their_own_or_haproxys() {
    let pool = |spares: &str| {
        let config = parsed(&format!("backends: [{{name: app, target: {{below: 1s}}, spares: {spares}}}]"));
        assert_eq!(config.backends[0].spares, Spares::Dynamic);
        config.pools["app"].clone()
    };
    let given = pool("{kind: dynamic, pool: {file: /app.pool}, default_server: check  inter 2s}");
    assert_eq!(given.source, PoolSource::File("/app.pool".into()));
    assert_eq!(given.default_server, DefaultServer::Given(Keywords::new("check inter 2s").unwrap()));
    let haproxys = pool("{kind: dynamic, pool: [10.0.0.4:80], default_server: {haproxy_cfg: /h.cfg}}");
    assert_eq!(haproxys.default_server, DefaultServer::HaproxyCfg("/h.cfg".into()));
    assert_eq!(parsed(REFERENCE).pools, BTreeMap::new());
}

#[track_caller]
fn check_band(backend: &str, lower_ms: u64, upper_ms: u64) {
    let config = parsed(&format!("backends: [{{name: app, {backend}}}]"));
    let band = config.backends[0].band;
    let expected = (Duration::from_millis(lower_ms), Duration::from_millis(upper_ms));
    assert_eq!((band.lower(), band.upper()), expected, "{backend}");
}

#[test]
fn the_band_follows_the_target_unless_it_says_otherwise() {
    check_band("target: {below: 250ms}", 100, 250);
    check_band("target: {below: 1s}", 400, 1000);
    check_band("target: {below: 1s}, band: {upper: 2s}", 400, 2000);
    check_band("target: {below: 1s}, band: {lower: 50ms}", 50, 1000);
    check_band("target: {below: 1s}, band: {lower: 20%, upper: 150%}", 200, 1500);
}

#[test]
fn settings_can_be_shared_by_an_alias() {
    let config =
        parsed("backends:\n  - {name: a, target: &slow {below: 2s}}\n  - {name: b, target: *slow}\n");
    assert_eq!(config.backends[0].target, config.backends[1].target);
}

/// What holds for each socket, as `keep` and the file that it is about.
fn kept(config: &Config) -> Vec<(&str, &str, String)> {
    let kept = |node: &'_ NodeSettings| -> (&'static str, String) {
        let lasting = &node.lasting;
        let file = if lasting.keep == Keep::StateFile { &lasting.state_file } else { &lasting.config };
        (lasting.keep.name(), file.display().to_string())
    };
    let nodes = config.nodes.iter().map(|node| (node.socket.as_str(), kept(node)));
    nodes.map(|(socket, (keep, file))| (socket, keep, file)).collect()
}

const SEVERAL: &str = "
haproxy:
  binary: /opt/haproxy
  reload: { by: systemd, min_interval: 8s }
  sockets:
    - { address: /run/a.sock, keep: block, config: /etc/a.cfg, reload: { unit: a }, start: true }
    - { address: /run/b.sock, keep: state_file, config: /etc/b.cfg, state_file: /b.state, reload: { by: none } }
    - 10.0.0.2:9999
";

#[test]
fn each_of_several_haproxys_has_what_stands_with_its_socket() {
    let config = parsed(SEVERAL);
    assert_eq!(
        kept(&config),
        [
            ("/run/a.sock", "block", "/etc/a.cfg".to_owned()),
            ("/run/b.sock", "state_file", "/b.state".to_owned()),
            ("10.0.0.2:9999", "none", "/etc/haproxy/haproxy.cfg".to_owned()),
        ]
    );
    let lasting = |node: usize| &config.nodes[node].lasting;
    assert_eq!([0, 1, 2].map(|node| lasting(node).start), [true, false, false]);
    let reload = |node| (lasting(node).reload.by, lasting(node).reload.unit.as_str());
    assert_eq!([0, 1].map(reload), [(ReloadBy::Systemd, "a"), (ReloadBy::None, "haproxy")]);
    // What is nobody's own holds for all.
    assert!((0..3).all(|node| lasting(node).binary == Path::new("/opt/haproxy")));
    assert!((0..3).all(|node| lasting(node).reload.min_interval == Duration::from_secs(8)));
}

#[test]
fn one_haproxy_may_have_its_keys_with_its_socket_too() {
    let plain = parsed("haproxy: { sockets: [/a], keep: block, config: /a.cfg }");
    assert_eq!(parsed("haproxy: { sockets: [{ address: /a, keep: block, config: /a.cfg }] }"), plain);
    assert_eq!(
        parsed("haproxy: { sockets: [{ address: /a, keep: block }], keep: none, config: /a.cfg }"),
        plain
    );
}

#[test]
fn sockets_of_the_command_line_have_what_the_file_says_of_them() {
    let with = |text: &str, sockets: &[&str]| {
        parsed(text).with_sockets(sockets.iter().map(|&socket| socket.to_owned()).collect())
    };
    let keeps = |text: &str, sockets: &[&str]| {
        let config = with(text, sockets).unwrap();
        kept(&config).iter().map(|(socket, keep, _)| format!("{socket} {keep}")).collect::<Vec<_>>()
    };
    assert_eq!(keeps(SEVERAL, &["/c.sock", "/run/b.sock"]), ["/c.sock none", "/run/b.sock state_file"]);
    assert_eq!(keeps(SEVERAL, &["/c.sock"]), ["/c.sock none"]);
    let one = "haproxy: { sockets: [/a], keep: block }";
    assert_eq!(keeps(one, &["/b"]), ["/b block"]);
    assert_eq!(keeps(one, &["/b", "/a"]), ["/b none", "/a block"]);
    check_option(
        with(one, &["/b", "/c"]),
        "--socket: the config file keeps changes to, or starts, `/a`, which is not among the 2\n  name it too, or leave `keep` and `start` out of the file",
    );
}

#[test]
fn the_command_line_wins_over_the_file() {
    let file =
        || parsed("backends:\n  - {name: a, target: {below: 1s}}\n  - {name: b, target: {below: 2s}}\n");
    let sources = file().with_sources(vec!["-".to_owned()]).sources;
    assert_eq!(sources, ["-"]);
    assert_eq!(file().with_sources(Vec::new()), file());
    assert_eq!(file().with_sockets(vec!["/x".to_owned()]).unwrap().sockets(), ["/x"]);
    assert_eq!(file().with_sockets(Vec::new()).unwrap(), file());

    let only_b = file().with_backend("b", None).unwrap();
    assert_eq!(only_b.backends, file().backends[1..]);
    let faster = file().with_target(Duration::from_millis(100)).unwrap();
    assert_eq!(
        faster,
        parsed("backends:\n  - {name: a, target: {below: 100ms}}\n  - {name: b, target: {below: 100ms}}\n")
    );
    let new = Config::default().with_backend("app", Some(Duration::from_millis(250))).unwrap();
    assert_eq!(new, parsed(REFERENCE));
}

#[track_caller]
fn check_option(config: Result<Config, ConfigError>, expected: &str) {
    assert_eq!(config.unwrap_err().to_string(), expected);
}

#[test]
fn a_wrong_option_is_named() {
    let none = Config::default;
    let target = Some(Duration::from_secs(1));
    check_option(
        none().with_sockets(vec!["/a".to_owned(), "/a".to_owned()]),
        "--socket: `/a` is in it twice",
    );
    check_option(
        none().with_backend("app", None),
        "--backend: backend `app` has no target\n  add `--target 250ms`",
    );
    check_option(
        none().with_backend("a b", target),
        "--backend: `a b` is not a name as HAProxy has them: letters, digits, `-`, `_`, `.`, `:`",
    );
    check_option(none().with_backend("app", Some(Duration::ZERO)), "--target: 0s is out of range: 1ms to 1h");
    check_option(
        parsed(MINIMAL).with_target(Duration::from_secs(7200)),
        "--target: 2h is out of range: 1ms to 1h",
    );
}

#[test]
fn a_file_that_is_no_config_is_not_read_to_its_end() {
    let error = Config::load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(error.to_string(), "/dev/zero: larger than 1048576 bytes");
}

#[test]
fn a_thousand_backends_with_ten_servers_each_are_no_problem() {
    let servers: String = (0..10).map(|n| format!("      server-{n}: {{ capacity: 2 }}\n")).collect();
    let backend =
        |n| format!("  - name: backend-{n}\n    target: {{ below: 250ms }}\n    servers:\n{servers}");
    let config = parsed(&format!("backends:\n{}", (0..1_000).map(backend).collect::<String>()));
    assert_eq!(config.backends.len(), 1_000);
    assert!(config.backends.iter().all(|backend| backend.servers.len() == 10));
}

#[test]
fn aliases_cannot_make_much_out_of_little() {
    let lists = (1..10).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    let bomb = format!("a0: &a0 [x]\n{}", lists.collect::<String>());
    let text = format!("sources: [&a {}{}]", "x".repeat(100_000), ", *a".repeat(100_000));
    let servers: String = (0..2_000).map(|n| format!("s{n}: ,")).collect();
    let backend = format!("{{name: a, target: {{below: 1s}}, servers: {{{servers}}}}}");
    let backends = format!("backends: [&b {backend}{}]", ", *b".repeat(100_000));
    for text in [bomb, text, backends] {
        let printed = refused(&text).to_string();
        assert!(printed.contains("aliases make more of it than any config needs"), "{printed}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, &bytes).unwrap();
        let _ = Config::load(file.path()).map_err(|error| error.to_string());
    }

    /// Closer to a config than any bytes: pieces of one, cut, doubled and strewn with what YAML means something by.
    #[test]
    fn no_damaged_config_panics(
        cuts in proptest::collection::vec((0..EVERY_KEY.len(), 0..60_usize, "[-\\[\\]{}:,&*!|>'\"%@#?~<\n\t a0\u{e9}\u{0}]{0,4}"), 1..5),
    ) {
        let mut text = EVERY_KEY.to_owned();
        for (at, length, put_in) in cuts {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, &put_in);
            }
        }
        if let Err(error) = Config::parse(&text, Path::new("agent.yaml")) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
