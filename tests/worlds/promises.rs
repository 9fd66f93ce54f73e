//! What the controller never does, whatever comes.

use std::collections::VecDeque;
use std::time::Duration;

use haproxy_autoscale::core::policy::decision::Decision;
use haproxy_autoscale::core::policy::model::{Condition, Evaluation};
use haproxy_autoscale::core::settings::ReadyLimits;
use haproxy_autoscale::sim::scenario::{Incident, Shape, Trouble};
use proptest::prelude::*;

use super::play::{Second, play};
use super::recipe::{Recipe, any_world};
use super::worlds;

/// `hold` is never shorter.
const LEAST_HOLD_S: u32 = 60;
const HOUR_S: u32 = 3600;

/// Looks at one second after the other.
#[derive(Debug, Default)]
pub(super) struct Witness {
    added: Option<u32>,
    /// Servers with which none may go, by second, for as long as `hold` can be.
    needed: VecDeque<(u32, f64)>,
    /// When a server began or ceased to take requests.
    moves: VecDeque<u32>,
    takes: Vec<bool>,
}

impl Witness {
    pub(super) fn see(&mut self, second: &Second, recipe: &Recipe) {
        self.keep(second);
        limits_hold(second, recipe);
        if let Some(evaluation) = &second.evaluation {
            assert_finite(evaluation, second);
        }
        match &second.begun {
            Some(Decision::ScaleUp { .. }) => {
                orders_count(second);
                self.added = Some(second.at);
            }
            Some(Decision::ScaleDown { reason, .. }) if reason.key() == "ample" => self.fewer(second, recipe),
            _ => {}
        }
    }

    fn keep(&mut self, second: &Second) {
        let changed = self.takes.iter().zip(&second.before.takes).filter(|(was, is)| was != is).count();
        self.moves.extend(std::iter::repeat_n(second.at, changed));
        self.takes.clone_from(&second.before.takes);
        while self.moves.front().is_some_and(|at| second.at - at >= HOUR_S) {
            self.moves.pop_front();
        }
        let known = second.evaluation.as_ref().filter(|evaluation| evaluation.carried.is_some());
        // Without lines nobody knows what is needed.
        if let Some(evaluation) = known.filter(|evaluation| evaluation.condition != Condition::Blind) {
            self.needed.push_back((second.at, evaluation.need_in));
        }
        while self.needed.front().is_some_and(|(at, _)| second.at - at > 900) {
            self.needed.pop_front();
        }
    }

    /// Servers go only if nothing speaks against it, and if what remains would have been enough all the time.
    fn fewer(&self, second: &Second, recipe: &Recipe) {
        let evaluation = second.evaluation.as_ref().expect("the model has decided");
        let says = format!("{} at {} s: {evaluation:?}", second.says, second.at);
        assert!(evaluation.limits.is_empty(), "something stands in the way: {says}");
        assert!(!matches!(evaluation.condition, Condition::Learning | Condition::Blind), "{says}");
        assert!(evaluation.starting == 0 && evaluation.parked == 0 && evaluation.backlog <= 0.0, "{says}");
        let since = self.added.map_or(u32::MAX, |added| second.at - added);
        assert!(since >= LEAST_HOLD_S, "{since} s after some were added: {says}");
        let remain = f64::from(second.after.serving);
        let hold_s = evaluation.hold.as_secs() as u32;
        let within = self.needed.iter().filter(|(at, _)| second.at - at <= hold_s);
        let most = within.map(|(_, needed)| *needed).fold(0.0, f64::max);
        assert!(most <= remain + 0.021, "{most} were needed within {hold_s} s, {remain} remain: {says}");
        let allowed = recipe.settings.model.moves_per_hour as usize;
        assert!(self.moves.len() < allowed, "{} moves within the hour: {says}", self.moves.len());
    }
}

/// What we do leaves the fewest serving, and makes no more than the most.
fn limits_hold(second: &Second, recipe: &Recipe) {
    let ReadyLimits { min, max } = recipe.settings.ready;
    let (before, after) = (&second.before, &second.after);
    let says = format!("{} at {} s: {before:?}, then {after:?}", second.says, second.at);
    let fewest = min.min(before.serving);
    assert!(after.serving >= fewest, "fewer than the fewest: {says}");
    let most = max.unwrap_or(u32::MAX).max(before.serving + before.starting);
    assert!(after.serving + after.starting <= most, "more than the most: {says}");
}

/// Servers that are on their way are not ordered again.
fn orders_count(second: &Second) {
    let Some(evaluation) = second.evaluation.as_ref().filter(|it| it.carried.is_some()) else { return };
    let by_policy = ["need", "rising", "slots"]
        .iter()
        .any(|key| matches!(&second.begun, Some(Decision::ScaleUp { reason, .. }) if reason.key() == *key));
    let Some(Decision::ScaleUp { by, .. }) = second.begun else { return };
    let ordered = f64::from(evaluation.serving + evaluation.starting + by);
    let wanted = (f64::from(evaluation.want) + evaluation.lost - 0.5).ceil();
    assert!(!by_policy || ordered <= wanted, "{ordered} ordered: {} {evaluation:?}", second.says);
}

fn assert_finite(evaluation: &Evaluation, second: &Second) {
    let carried = evaluation.carried.map(|it| {
        [
            it.service,
            it.workers,
            it.utilization,
            it.gamma,
            it.room,
            it.carries,
            it.floor,
            it.limit.unwrap_or(0.0),
        ]
    });
    let Evaluation { arrivals, backlog, need_fast, need_slow, need_in, lost, forecast, .. } = evaluation;
    let rise = forecast.sudden.map_or([0.0; 2], |rise| [rise.slope, rise.arrivals]);
    let figures = [*arrivals, *backlog, *need_fast, *need_slow, *need_in, *lost, forecast.slow];
    let all = figures.iter().chain(&rise).chain(carried.iter().flatten());
    assert!(all.copied().all(f64::is_finite), "{evaluation:?}");
    let says = format!("{} {:?}", second.says, evaluation.limits);
    assert!(!says.contains("NaN") && !says.contains("inf "), "{says}");
}

proptest! {
    #![proptest_config(worlds(12))]

    #[test]
    fn whatever_comes_the_promises_are_kept(
        recipe in any_world(420.0), moves_per_hour in prop_oneof![Just(200_u32), 0_u32..12],
    ) {
        let mut recipe = recipe;
        recipe.settings.model.moves_per_hour = moves_per_hour;
        let mut witness = Witness::default();
        for second in play(&recipe) {
            witness.see(&second, &recipe);
        }
    }

    #[test]
    fn idle_for_ever_ends_at_the_fewest_in_bounded_time(recipe in any_world(180.0)) {
        let mut recipe = recipe;
        let busy_s = recipe.scenario.length_s;
        // Whatever went wrong is over, and nobody comes any more.
        recipe.scenario.incidents.retain(|incident| incident.what != Trouble::LogLost);
        recipe.scenario.incidents.iter_mut().for_each(|it: &mut Incident| it.until_s = it.until_s.min(busy_s));
        recipe.scenario.load.shape = until(busy_s, recipe.scenario.load.shape);
        recipe.scenario.length_s = 2400.0;
        let seconds = play(&recipe);
        let bound_s = busy_s as u32 + idle_bound_s(&seconds[busy_s as usize..], &recipe);
        let bound = bound_s as usize;
        let ReadyLimits { min, .. } = recipe.settings.ready;
        let fewest = min.min(recipe.scenario.servers as u32);
        let late = seconds.iter().skip(bound).find(|second| second.after.serving != fewest);
        prop_assert!(bound < seconds.len(), "the bound is {} s", bound);
        prop_assert!(late.is_none(), "{} and not {fewest} after {bound} s: {:?}", late.unwrap().after.serving, late);
    }
}

/// How long it may take until the fewest serve once nobody comes any more.
fn idle_bound_s(seconds: &[Second], recipe: &Recipe) -> u32 {
    let down = &recipe.settings.scale_down;
    let all = recipe.scenario.servers as u32;
    let evaluations = || seconds.iter().filter_map(|it| it.evaluation.as_ref());
    let drain = down.drain_timeout + Duration::from_secs(5);
    // Where too little has come to learn from, the hysteresis band decides: one server at a time.
    if evaluations().any(|it| it.carried.is_none()) {
        return (down.idle_after + all * (down.cooldown + drain)).as_secs() as u32 + 60;
    }
    let hold = evaluations().map(|it| it.hold).max().unwrap_or_default();
    let halvings = f64::from(all).log2().ceil() as u32 + 1;
    // What the last requests need to end, and a minute until what is left counts as idle.
    let settled = Duration::from_secs(15 + 60);
    (settled + hold + halvings * (recipe.settings.model.trial + drain)).as_secs() as u32
}

/// `shape` up to `end_s`, and nothing from there on.
fn until(end_s: f64, shape: Shape) -> Shape {
    let level = match shape {
        Shape::Constant(rate) => rate,
        Shape::Square { high, .. } | Shape::Wave { high, .. } => high,
        Shape::Lines(points) => points.iter().map(|(_, rate)| *rate).fold(0.0, f64::max),
        _ => 1.0,
    };
    Shape::Lines(vec![(0.0, level), (end_s, level), (end_s + 0.1, 0.0)])
}

/// Servers that are needed again too soon after they went.
fn mistakes(seconds: &[Second], min_off_s: u32) -> u32 {
    let (mut away, mut mistakes) = (None, 0);
    for second in seconds {
        match &second.begun {
            Some(Decision::ScaleDown { .. }) => away = Some(second.at),
            Some(Decision::ScaleUp { .. }) => {
                mistakes += u32::from(away.take().is_some_and(|away| second.at - away < min_off_s));
            }
            _ => {}
        }
    }
    mistakes
}

proptest! {
    // Each plays for 50 minutes.
    #![proptest_config(worlds(3))]

    #[test]
    fn a_load_that_comes_and_goes_does_not_take_servers_with_it(
        recipe in any_world(3000.0), low in 0.05_f64..0.3, more in 0.2_f64..0.6, period_s in 20_f64..600.0,
    ) {
        let mut recipe = recipe;
        let server = recipe.scenario.server;
        let busy = recipe.scenario.servers as f64 * f64::from(server.workers) / server.service_s;
        let busy = busy.min(40.0);
        recipe.scenario.incidents.clear();
        recipe.scenario.load.shape = Shape::Square { low: low * busy, high: (low + more) * busy, period_s };
        let seconds = play(&recipe);
        let model = recipe.settings.model;
        // The shortest that `hold` can be, which gives the most doublings; one more, and those that half an
        // hour without a mistake forgives.
        let doublings = (model.hold_max.as_secs_f64() / f64::from(LEAST_HOLD_S)).log2().ceil() as u32;
        let most = doublings + 1 + 2;
        let found = mistakes(&seconds, model.min_off.as_secs() as u32);
        let told: Vec<_> = seconds.iter().filter(|it| it.begun.is_some()).map(|it| (it.at, &it.says)).collect();
        prop_assert!(found <= most, "{found} mistakes, at most {most}: {told:?}");
    }
}
