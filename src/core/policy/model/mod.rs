//! `policy: model`: as many servers as the load needs.
//!
//! In: [`LoadFigures`] and the [`Pool`]. Out: a [`Decision`]. The load in busy workers is arrivals
//! times service time; what a server may carry of it follows from the target. Latency itself only
//! guards: it says nothing below the knee and too much above it.

use std::time::Instant;

use super::decision::{Decision, Reason};
use super::pool::Pool;
use crate::core::estimate::load::LoadFigures;
use crate::core::settings::BackendSettings;

/// What the policy remembers of one backend.
#[derive(Clone, Debug, Default)]
pub struct Model {}

impl Model {
    /// Decides at `now`. The same calls give the same decisions.
    ///
    /// `moving`: a plan is being carried out; servers that it starts are [`Stage::Starting`](super::pool::Stage),
    /// those that it takes away are `Parked`. A [`Decision::ScaleUp`] takes back parked ones first.
    pub fn decide(
        &mut self,
        _now: Instant,
        _load: &LoadFigures,
        _pool: &Pool,
        _settings: &BackendSettings,
    ) -> Decision {
        Decision::Hold(Reason::Acting)
    }
}
