//! `model:` and `outliers:` of the file to the core's settings.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::backend::UP_TO_A_DAY;
use super::check::{Checker, set};
use super::file::{Model, Outliers};
use super::path::KeyPath;
use super::percent::Percent;
use super::value::{OrAuto, Value};
use crate::core::settings::{ModelSettings, OutlierSettings};

/// `utilization_max`; below 30 % most servers would idle, above 95 % the least burst is too much.
const UTILIZATION: RangeInclusive<Percent> = Percent::new(30)..=Percent::new(95);

/// `band`; half of the workers would keep servers that nobody needs.
const BAND: RangeInclusive<Percent> = Percent::new(0)..=Percent::new(50);

/// `backlog`; it is divided by.
const BACKLOG: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// `workers`.
const WORKERS: RangeInclusive<f64> = 0.1..=100_000.0;

/// `moves_per_hour`.
const MOVES: RangeInclusive<u32> = 1..=1_000_000;

/// `outliers.most`; if most of them are slow, it is not the servers.
const MOST: RangeInclusive<Percent> = Percent::new(0)..=Percent::new(50);

impl Checker<'_> {
    pub(super) fn model(&mut self, file: Model, at: &KeyPath) -> ModelSettings {
        let mut model = ModelSettings::default();
        self.set_share(
            &mut model.utilization_max,
            at.key("utilization_max"),
            file.utilization_max,
            UTILIZATION,
        );
        self.set_share(&mut model.band, at.key("band"), file.band, BAND);
        if let Some(Value(OrAuto(Some(hold)))) = file.hold {
            let mut within = Duration::ZERO;
            self.set_within(&mut within, at.key("hold"), Some(Value(hold)), UP_TO_A_DAY);
            model.hold = Some(within);
        }
        self.set_within(&mut model.hold_max, at.key("hold_max"), file.hold_max, UP_TO_A_DAY);
        self.set_within(&mut model.min_off, at.key("min_off"), file.min_off, UP_TO_A_DAY);
        self.set_within(&mut model.trial, at.key("trial"), file.trial, UP_TO_A_DAY);
        self.set_within(&mut model.backlog, at.key("backlog"), file.backlog, BACKLOG);
        set(&mut model.forecast, file.forecast);
        if let Some(Value(OrAuto(Some(workers)))) = file.workers {
            let mut within = *WORKERS.start();
            self.set_within(&mut within, at.key("workers"), Some(Value(workers)), WORKERS);
            model.workers = Some(within);
        }
        self.set_within(&mut model.moves_per_hour, at.key("moves_per_hour"), file.moves_per_hour, MOVES);
        model
    }

    pub(super) fn outliers(&mut self, file: Outliers, at: &KeyPath) -> OutlierSettings {
        let mut outliers = OutlierSettings::default();
        self.set_share(&mut outliers.most, at.key("most"), file.most, MOST);
        self.set_within(&mut outliers.drain_after, at.key("drain_after"), file.drain_after, UP_TO_A_DAY);
        outliers
    }

    fn set_share(
        &mut self,
        slot: &mut f64,
        at: KeyPath,
        value: Option<Value<Percent>>,
        range: RangeInclusive<Percent>,
    ) {
        if value.is_none() {
            return;
        }
        let mut share = *range.end();
        self.set_within(&mut share, at, value, range);
        *slot = share.fraction();
    }
}
