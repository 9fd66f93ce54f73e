//! One backend of the file to the core's settings for it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::check::{self, Checker, Shown, out_of_range, set};
use super::defaults;
use super::error::{Mistake, Order};
use super::file::{
    Backend, Band, ScaleDown as ScaleDownFile, ScaleUp as ScaleUpFile, Target as TargetFile, Window,
};
use super::path::KeyPath;
use super::spares::PoolSettings;
use super::value::{BandEnd, FromText, Name, OrNone, Value};
use super::words::PlainStatistic;
use crate::core::settings::schedule::Schedule;
use crate::core::settings::spares::Spares;
use crate::core::settings::{
    BackendSettings, HysteresisBand, LogSettings, ModelSettings, OutlierSettings, ReadyLimits, ScaleDown,
    ScaleUp, ServerSettings, Statistic, Target, WindowSettings,
};
use crate::core::units::Percentile;

/// HAProxy's timers count milliseconds; an hour is longer than any timeout.
const BELOW: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// How many requests `target.last` may mean; all of them are kept.
const LAST: RangeInclusive<usize> = 1..=10_000;

/// A window: less than a second is noise, more than an hour is history.
const WINDOW_LENGTH: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// `window.min_samples`; one request is the least that can be looked at.
const MIN_SAMPLES: RangeInclusive<u64> = 1..=1_000_000;

/// `scale_up.breaches`; 0: only the window counts.
const BREACHES: RangeInclusive<u32> = 0..=10_000;

/// Stabilization windows, cooldowns, drain timeouts, ramps.
pub(super) const UP_TO_A_DAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);

/// `scale_down.idle_after`; a backend without requests for less than a second is not idle.
const IDLE_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// Servers of a backend, where at least one is meant.
pub(super) const SERVERS: RangeInclusive<u32> = 1..=10_000;

/// `name`, if HAProxy could have a backend of that name.
pub(super) fn name(name: &str) -> Result<String, Mistake> {
    let checked: Result<Name, serde::de::value::Error> = Name::from_text(name);
    checked.map(|Name(name)| name).map_err(|error| Mistake::Value(error.to_string()))
}

/// The backend `name` with the defaults and p95 of Tt below `below`.
pub(super) fn with_defaults(
    name: String,
    below: Duration,
    log: LogSettings,
) -> Result<BackendSettings, Mistake> {
    let band = band(defaults::BAND_LOWER, defaults::BAND_UPPER, below);
    Ok(BackendSettings {
        name,
        target: defaults::target(below),
        window: defaults::WINDOW,
        log,
        band: band.filter(|_| BELOW.contains(&below)).ok_or_else(|| out_of_range(&below, &BELOW))?,
        policy: defaults::POLICY,
        model: ModelSettings::default(),
        ready: defaults::READY,
        schedule: Schedule::default(),
        scale_up: defaults::SCALE_UP,
        scale_down: defaults::SCALE_DOWN,
        warm_up: defaults::warm_up(),
        hands_off: defaults::HANDS_OFF,
        outliers: OutlierSettings::default(),
        weights: defaults::WEIGHTS,
        spares: Spares::Declared,
        servers: BTreeMap::new(),
    })
}

/// Another `target.below`; the band moves in proportion.
pub(super) fn set_target(backend: &mut BackendSettings, below: Duration) -> Result<(), Mistake> {
    let scaled = |end: Duration| {
        let nanos = end.as_nanos() * below.as_nanos() / backend.target.below.as_nanos().max(1);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    };
    let band = HysteresisBand::new(scaled(backend.band.lower()), scaled(backend.band.upper()));
    backend.band = band.filter(|_| BELOW.contains(&below)).ok_or_else(|| out_of_range(&below, &BELOW))?;
    backend.target.below = below;
    Ok(())
}

/// The band between two ends; `None` if there is nothing between them.
fn band(lower: BandEnd, upper: BandEnd, below: Duration) -> Option<HysteresisBand> {
    HysteresisBand::new(lower.around(below), upper.around(below))
}

impl Checker<'_> {
    /// The settings of the backend at `at`, and its pool; `None` if what is wrong leaves none, and it is reported.
    pub(super) fn backend(
        &mut self,
        file: Backend,
        log: LogSettings,
        at: &KeyPath,
    ) -> Option<(BackendSettings, Option<PoolSettings>)> {
        let target = self.target(&file.target, &at.key("target"));
        let window = self.window(file.window.unwrap_or_default(), &at.key("window"));
        let log = check::log(log, file.coverage, file.sample_rate);
        let band = self.band(&file.band.unwrap_or_default(), target.below, at);
        let (ready, schedule) = self.ready(file.ready.unwrap_or_default(), &at.key("ready"));
        let scale_up = self.scale_up(file.scale_up.unwrap_or_default(), &at.key("scale_up"));
        let scale_down = self.scale_down(file.scale_down.unwrap_or_default(), &at.key("scale_down"));
        let warm_up = self.warm_up(file.warm_up.unwrap_or_default(), defaults::warm_up(), &at.key("warm_up"));
        let (spares, pool) = self.spares(file.spares.unwrap_or_default(), &warm_up, &at.key("spares"));
        let mut servers = BTreeMap::new();
        for (Value(Name(name)), server) in file.servers.unwrap_or_default() {
            let here = at.key("servers").key(&name);
            servers.insert(name, self.server(server.unwrap_or_default(), &warm_up, &here));
        }
        self.always_up_fits(&servers, ready, &at.key("ready"));
        for (nth, entry) in
            schedule.entries.iter().enumerate().filter(|(_, entry)| entry.limits.max != ready.max)
        {
            self.always_up_fits(&servers, entry.limits, &at.key("ready").key("schedule").index(nth));
        }
        let (mut weights, mut policy) = (defaults::WEIGHTS, defaults::POLICY);
        set(&mut weights, file.weights);
        set(&mut policy, file.policy);
        let mut hands_off = defaults::HANDS_OFF;
        self.set_within(&mut hands_off, at.key("hands_off"), file.hands_off, UP_TO_A_DAY);
        let outliers = self.outliers(file.outliers.unwrap_or_default(), &at.key("outliers"));
        let model = self.model(file.model.unwrap_or_default(), &at.key("model"));
        let Value(Name(name)) = file.name;
        let band = band?;
        let settings = BackendSettings {
            name,
            target,
            policy,
            model,
            window,
            log,
            band,
            ready,
            schedule,
            scale_up,
            scale_down,
            warm_up,
            hands_off,
            outliers,
            weights,
            spares,
            servers,
        };
        Some((settings, pool))
    }

    fn target(&mut self, file: &TargetFile, at: &KeyPath) -> Target {
        let Value(below) = file.below;
        let mut target = defaults::target(defaults::BELOW);
        self.set_within(&mut target.below, at.key("below"), Some(Value(below)), BELOW);
        set(&mut target.timer, file.timer.clone());
        self.one_statistic(file, at);
        if let Some(Value(number)) = file.percentile {
            match Percentile::new(number) {
                Some(percentile) => target.statistic = Statistic::Percentile(percentile),
                None => {
                    let allowed = "above 0, at most 100".to_owned();
                    let mistake = Mistake::OutOfRange { value: number.shown(), allowed };
                    self.report(&at.key("percentile"), &at.key("percentile"), mistake);
                }
            }
        }
        if let Some(Value(PlainStatistic::Mean)) = file.statistic {
            target.statistic = Statistic::Mean;
        }
        if file.last.is_some() {
            let mut last = *LAST.start();
            self.set_within(&mut last, at.key("last"), file.last.clone(), LAST);
            target.statistic = Statistic::MeanOfLast(last);
        }
        target
    }

    /// Of the three keys that name a statistic at most one is there.
    fn one_statistic(&mut self, file: &TargetFile, at: &KeyPath) {
        let named = [
            ("percentile", file.percentile.is_some()),
            ("statistic", file.statistic.is_some()),
            ("last", file.last.is_some()),
        ];
        let named: Vec<&str> = named.iter().filter(|(_, is_there)| *is_there).map(|(key, _)| *key).collect();
        if let [first, second, ..] = named[..] {
            let remedy = "a target has one statistic: leave one of them out";
            let mistake = Mistake::Exclusive { first: first.to_owned(), second: second.to_owned(), remedy };
            self.report(&at.key(second), at, mistake);
        }
    }

    fn window(&mut self, file: Window, at: &KeyPath) -> WindowSettings {
        let mut window = defaults::WINDOW;
        self.set_within(&mut window.length, at.key("length"), file.length, WINDOW_LENGTH);
        self.set_within(&mut window.min_samples, at.key("min_samples"), file.min_samples, MIN_SAMPLES);
        window
    }

    fn band(&mut self, file: &Band, below: Duration, at: &KeyPath) -> Option<HysteresisBand> {
        let (mut lower, mut upper) = (defaults::BAND_LOWER, defaults::BAND_UPPER);
        set(&mut lower, file.lower.clone());
        set(&mut upper, file.upper.clone());
        let band = band(lower, upper, below);
        if band.is_none() {
            let there = if file.lower.is_some() { "lower" } else { "upper" };
            let mistake = Mistake::Order(Box::new(Order {
                first: "band.lower",
                first_value: lower.around(below).shown(),
                relation: "not below",
                second: if file.upper.is_some() { "band.upper" } else { "target.below" },
                second_value: upper.around(below).shown(),
            }));
            self.report(&at.key("band").key(there), at, mistake);
        }
        band
    }

    fn scale_up(&mut self, file: ScaleUpFile, at: &KeyPath) -> ScaleUp {
        let mut up = defaults::SCALE_UP;
        let stabilization_window = &mut up.stabilization_window;
        self.set_within(
            stabilization_window,
            at.key("stabilization_window"),
            file.stabilization_window,
            UP_TO_A_DAY,
        );
        self.set_within(&mut up.breaches, at.key("breaches"), file.breaches, BREACHES);
        self.set_within(&mut up.cooldown, at.key("cooldown"), file.cooldown, UP_TO_A_DAY);
        self.set_within(&mut up.step, at.key("step"), file.step, SERVERS);
        up
    }

    fn scale_down(&mut self, file: ScaleDownFile, at: &KeyPath) -> ScaleDown {
        let mut down = defaults::SCALE_DOWN;
        let stabilization_window = &mut down.stabilization_window;
        self.set_within(
            stabilization_window,
            at.key("stabilization_window"),
            file.stabilization_window,
            UP_TO_A_DAY,
        );
        self.set_within(&mut down.idle_after, at.key("idle_after"), file.idle_after, IDLE_AFTER);
        self.set_within(&mut down.cooldown, at.key("cooldown"), file.cooldown, UP_TO_A_DAY);
        self.set_within(&mut down.step, at.key("step"), file.step, SERVERS);
        self.set_within(&mut down.drain_timeout, at.key("drain_timeout"), file.drain_timeout, UP_TO_A_DAY);
        self.set_within(&mut down.sticky_quiet, at.key("sticky_quiet"), file.sticky_quiet, UP_TO_A_DAY);
        if let Some(Value(OrNone(Some(after)))) = file.shutdown_sessions {
            let mut within = Duration::ZERO;
            self.set_within(&mut within, at.key("shutdown_sessions"), Some(Value(after)), UP_TO_A_DAY);
            down.shutdown_sessions = Some(within);
        }
        down
    }

    /// Servers that are always up cannot be more than may serve.
    fn always_up_fits(
        &mut self,
        servers: &BTreeMap<String, ServerSettings>,
        ready: ReadyLimits,
        at: &KeyPath,
    ) {
        let always_up = servers.values().filter(|server| server.always_up).count();
        if let Some(max) = ready.max
            && always_up > max as usize
        {
            self.report(
                &at.key("max"),
                at,
                Mistake::Order(Box::new(Order {
                    first: "servers",
                    first_value: format!("{always_up} of them `always_up`"),
                    relation: "above",
                    second: "max",
                    second_value: max.shown(),
                })),
            );
        }
    }
}
