//! Which candidates there are, and which of them is proposed.

use std::time::Duration;

use super::proposal::{Proposal, Proposed, Tried, Window};
use super::trial::{Candidate, Played, Trials};
use crate::cli::Failure;
use crate::core::policy::Span;
use crate::core::settings::Timer;
use crate::sim::replay::WorkersFrom;
use crate::sim::replay::workload::Workload;

/// So many may be over the target: the rest of 95 %.
const BUDGET: f64 = 0.05;
/// Targets that are tried, as multiples of what 95 % take when nobody waits. With less than 1.5 every chance meeting of
/// two requests is a miss; with more than 3 users wait for others longer than for their own.
const MARGINS: [f64; 3] = [1.5, 2.0, 3.0];
/// A tighter target may cost so much more than the loosest one.
const WORTH: f64 = 1.08;
/// One server more at least has to take away this share of the requests over the target,
const HELPS: f64 = 0.2;
/// and of all requests at least so many.
const HELPS_AT_LEAST: f64 = 0.001;
/// Above what the peak took, for one that is higher.
const ABOVE_PEAK: f64 = 4.0 / 3.0;
/// With more of its time in the transfer, Tt tells of clients and not of servers.
const TRANSFER: f64 = 1.5;
/// Of a percentile at least so many requests should lie above it, or it is chance.
const BEYOND: f64 = 5.0;
/// Windows that are proposed, seconds; the default is the first.
const WINDOWS_S: [u64; 4] = [30, 60, 120, 300];
/// `window.min_samples` by default.
const MIN_SAMPLES: u64 = 50;

/// Tries, chooses, and says why.
pub(super) fn propose(trials: &Trials<'_>, below: Option<Duration>) -> Result<Proposal, Failure> {
    let workload = &trials.workload;
    let (timer, timer_reason) = timer(workload);
    let calm_s = calm_s(workload, timer);
    let start = Proposed { timer, below: ANY, min: 1, max: None, window: None, utilization_max: None };
    let mut choice = Choice { trials, settings: start, reasons: Vec::new(), tried: Vec::new() };
    choice.reasons.extend(timer_reason.map(|reason| ("target.timer", reason)));
    let best = choice.target(calm_s, below)?;
    let best = choice.utilization(best)?;
    let best = choice.min(best)?;
    choice.max(&best);
    choice.window();
    let was = trials.as_it_was(&choice.settings);
    let Choice { settings, reasons, tried, .. } = choice;
    Ok(Proposal {
        backend: workload.backend.clone(),
        settings,
        reasons,
        trials: [was].into_iter().chain(tried).collect(),
        notes: notes(trials),
    })
}

/// Until one is chosen.
const ANY: Duration = Duration::from_secs(1);

/// What has been chosen so far.
struct Choice<'a> {
    trials: &'a Trials<'a>,
    settings: Proposed,
    reasons: Vec<(&'static str, String)>,
    tried: Vec<Tried>,
}

impl Choice<'_> {
    fn target(&mut self, calm_s: f64, given: Option<Duration>) -> Result<Played, Failure> {
        let targets: Vec<Duration> = match given {
            Some(given) => vec![given],
            None => {
                let mut targets: Vec<_> = MARGINS.map(|margin| round_target(margin * calm_s)).to_vec();
                targets.dedup();
                targets
            }
        };
        let candidate = |below: Duration| Candidate {
            key: "target.below",
            value: format!("{} ms", below.as_millis()),
            settings: Proposed { below, ..self.settings },
        };
        let played = self.trials.play(targets.into_iter().map(candidate).collect())?;
        let chosen = tightest(&played.iter().map(|its| (its.over(), its.server_hours())).collect::<Vec<_>>());
        let takes = format!("when nobody waits, 95 % of the requests take at most {:.0} ms", calm_s * 1e3);
        let best = self.settle(played, chosen);
        let below = best.candidate.settings.below;
        let times = below.as_secs_f64() / calm_s;
        let keeps = if best.over() <= BUDGET {
            "it is kept"
        } else {
            "even so it is missed; more servers, or faster ones"
        };
        self.reasons.push((
            "target.below",
            match given {
                Some(_) => format!("as given; {takes}, and {} ms is {times:.1} times that: {keeps}", below.as_millis()),
                None => format!(
                    "{takes}; {} ms is {times:.1} times that, the tightest that costs hardly more than the cheapest: {keeps}",
                    below.as_millis()
                ),
            },
        ));
        Ok(best)
    }

    fn utilization(&mut self, so_far: Played) -> Result<Played, Failure> {
        if so_far.over() <= BUDGET {
            return Ok(so_far);
        }
        let candidate = |percent: u32| Candidate {
            key: "model.utilization_max",
            value: format!("{percent} %"),
            settings: Proposed { utilization_max: Some(percent), ..self.settings },
        };
        let played = self.trials.play([70, 60, 50].map(candidate).to_vec())?;
        let over: Vec<f64> = played.iter().map(Played::over).collect();
        let keeps = over.iter().position(|over| *over <= BUDGET);
        let Some(chosen) = keeps.or_else(|| helps(so_far.over(), &over)) else {
            self.tried.extend(played.iter().map(|its| its.tried(false)));
            return Ok(so_far);
        };
        let best = self.settle(played, chosen);
        self.reasons.push((
            "model.utilization_max",
            format!(
                "with 80 % {:.2} % of the requests are over the target, with {} {:.2} %, for {:.0} % more server time",
                100.0 * so_far.over(),
                best.candidate.value,
                100.0 * best.over(),
                100.0 * (best.server_hours() / so_far.server_hours() - 1.0),
            ),
        ));
        Ok(best)
    }

    /// More servers at least, as long as each one helps.
    fn min(&mut self, so_far: Played) -> Result<Played, Failure> {
        let most = self.trials.servers().min(4);
        let candidate = |min: u32| Candidate {
            key: "ready.min",
            value: min.to_string(),
            settings: Proposed { min, ..self.settings },
        };
        let more = self.trials.play((2..=most).map(candidate).collect())?;
        let over: Vec<f64> = [so_far.over()].into_iter().chain(more.iter().map(Played::over)).collect();
        let one = Played { candidate: candidate(1), ..so_far };
        let played: Vec<Played> = [one].into_iter().chain(more).collect();
        let enough = enough(&over);
        // One that fails must not be the last one.
        let chosen = enough.max(1).min(played.len() - 1);
        let dearer = 100.0 * (played[chosen].server_hours() / played[0].server_hours() - 1.0);
        let dearer = format!("that is {dearer:.0} % more server time");
        let reason = match chosen {
            0 => "there is no other".to_owned(),
            1 if enough == 0 => {
                format!("one would do for the load, but then one that fails is the last; {dearer}")
            }
            _ => format!(
                "with {} at least, {:.2} % are over the target, with one {:.2} %: what comes suddenly finds them there; {dearer}",
                chosen + 1,
                100.0 * over[chosen],
                100.0 * over[0]
            ),
        };
        self.reasons.push(("ready.min", reason));
        Ok(self.settle(played, chosen))
    }

    fn max(&mut self, best: &Played) {
        let (peak, all) = (best.track.summary.most_servers, self.trials.servers());
        let wanted = (f64::from(peak) * ABOVE_PEAK).ceil() as u32;
        let wanted = wanted.max(self.settings.min);
        if wanted < all {
            self.settings.max = Some(wanted);
            self.reasons
                .push(("ready.max", format!("the peak takes {peak} servers; a third more for a higher one")));
        } else {
            self.reasons.push((
                "ready.max",
                format!("the peak takes {peak} of the {all} servers: all of them may serve"),
            ));
        }
    }

    fn window(&mut self) {
        let quiet = quiet_rate(
            self.trials.workload.comings.iter().map(|its| its.at_s),
            self.trials.workload.length_s,
        );
        let (window, reason) = window(quiet);
        self.settings.window = window;
        self.reasons.push(("window", reason));
    }

    /// Takes the settings of the chosen one.
    fn settle(&mut self, mut played: Vec<Played>, chosen: usize) -> Played {
        self.tried.extend(played.iter().enumerate().map(|(place, its)| its.tried(place == chosen)));
        let best = played.swap_remove(chosen);
        self.settings = best.candidate.settings;
        best
    }
}

/// Tt, unless it tells of clients.
fn timer(workload: &Workload) -> (Timer, Option<String>) {
    let (all, server) = (calm_s(workload, Timer::Tt), calm_s(workload, Timer::Tr));
    if all <= TRANSFER * server || workload.learned.maxconn.is_some() {
        return (Timer::Tt, None);
    }
    let reason = format!(
        "Tr, since Tt is mostly transfer to clients: 95 % take {:.0} ms with it and {:.0} ms without",
        all * 1e3,
        server * 1e3
    );
    (Timer::Tr, Some(reason))
}

/// What 95 % of the requests take when nobody waits for another, seconds, at least a millisecond.
fn calm_s(workload: &Workload, timer: Timer) -> f64 {
    let transfer = |read_for_s: f64| if timer == Timer::Tt { read_for_s } else { 0.0 };
    let mut all: Vec<f64> =
        workload.comings.iter().map(|its| its.service_s + transfer(its.read_for_s)).collect();
    let place = (all.len() * 95 / 100).min(all.len().saturating_sub(1));
    if all.is_empty() {
        return 1e-3;
    }
    all.select_nth_unstable_by(place, f64::total_cmp).1.max(1e-3)
}

/// Up to the next figure that people would choose: 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten.
fn round_target(seconds: f64) -> Duration {
    let ms = (seconds * 1e3).max(1.0);
    let power = 10_f64.powf(ms.log10().floor());
    let figures = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    // What is within a hair of it counts as it.
    let figure = figures.into_iter().find(|figure| figure * power >= ms * 0.98).unwrap_or(10.0);
    Duration::from_millis((figure * power).ceil() as u64)
}

/// Of candidates (share over, server-hours), the tightest first: the first that keeps the promise for hardly more than
/// the cheapest; if none keeps it, the one that comes nearest.
fn tightest(played: &[(f64, f64)]) -> usize {
    let keeping = || played.iter().enumerate().filter(|(_, (over, _))| *over <= BUDGET);
    let cheapest = keeping().map(|(_, (_, hours))| *hours).fold(f64::INFINITY, f64::min);
    let worth = keeping().find(|(_, (_, hours))| *hours <= WORTH * cheapest);
    let nearest = || played.iter().enumerate().min_by(|a, b| a.1.0.total_cmp(&b.1.0));
    worth.or_else(nearest).map_or(0, |(place, _)| place)
}

/// The first of `over` that is clearly less than `before`.
fn helps(before: f64, over: &[f64]) -> Option<usize> {
    over.iter().position(|over| before - over >= (HELPS * before).max(HELPS_AT_LEAST))
}

/// From the first on, each as long as it is clearly better than the one before.
fn enough(over: &[f64]) -> usize {
    over.windows(2).take_while(|pair| helps(pair[0], &pair[1..]).is_some()).count()
}

/// Requests a second at quiet times: in nine of ten minutes with requests there are more.
fn quiet_rate(at_s: impl Iterator<Item = f64>, length_s: f64) -> f64 {
    const MINUTE_S: f64 = 60.0;
    if length_s < MINUTE_S {
        return at_s.count() as f64 / length_s.max(1.0);
    }
    let mut minutes = vec![0_u64; (length_s / MINUTE_S) as usize];
    for at_s in at_s {
        if let Some(minute) = minutes.get_mut((at_s / MINUTE_S) as usize) {
            *minute += 1;
        }
    }
    minutes.retain(|requests| *requests > 0);
    minutes.sort_unstable();
    minutes.get(minutes.len() / 10).map_or(0.0, |requests| *requests as f64 / MINUTE_S)
}

/// The shortest window that has enough requests at such times; `None`: the default.
fn window(quiet_rate: f64) -> (Option<Window>, String) {
    let enough = BEYOND / BUDGET;
    let found = WINDOWS_S.into_iter().find(|length_s| quiet_rate * *length_s as f64 >= enough);
    let quiet = format!("at quiet times {quiet_rate:.1} requests a second come");
    match found {
        Some(30) => (None, format!("{quiet}: {:.0} in the 30 s that are the default", quiet_rate * 30.0)),
        Some(length_s) => {
            let window = Window { length: Duration::from_secs(length_s), min_samples: MIN_SAMPLES };
            (Some(window), format!("{quiet}: a 95th percentile takes {enough:.0}, which {length_s} s have"))
        }
        None => {
            let length_s = WINDOWS_S[WINDOWS_S.len() - 1];
            let here = (quiet_rate * length_s as f64 / 2.0) as u64;
            let window =
                Window { length: Duration::from_secs(length_s), min_samples: here.clamp(10, MIN_SAMPLES) };
            (
                Some(window),
                format!(
                    "{quiet}: even {length_s} s have fewer than the {enough:.0} that a 95th percentile takes"
                ),
            )
        }
    }
}

fn notes(trials: &Trials<'_>) -> Vec<String> {
    let learned = &trials.workload.learned;
    let mut notes = vec![format!(
        "Modelled: {} servers, each works on {} requests side by side; a request costs {:.0} ms. `replay` shows how near the \
         model comes to this log.",
        trials.servers(),
        learned.workers,
        learned.service_s * 1e3,
    )];
    if learned.workers_from == WorkersFrom::AtLeast {
        notes.push(
            "No server was ever full, so it may work on more requests side by side than that: --workers says it better."
                .to_owned(),
        );
    }
    if trials.workload.length_s < 12.0 * 3600.0 {
        notes.push(format!(
            "The log is of {}: a whole week has peaks that it does not have.",
            Span(Duration::try_from_secs_f64(trials.workload.length_s).unwrap_or_default())
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_figures_that_people_choose() {
        #[track_caller]
        fn check(ms: f64, expected_ms: u64) {
            assert_eq!(round_target(ms / 1e3), Duration::from_millis(expected_ms), "{ms}");
        }
        check(0.2, 1);
        check(1.3, 2);
        check(101.0, 100);
        check(110.0, 120);
        check(333.0, 400);
        check(801.0, 800);
        check(2600.0, 3000);
    }

    #[test]
    fn the_tightest_target_that_is_hardly_dearer_is_proposed() {
        assert_eq!(tightest(&[(0.08, 10.0), (0.04, 8.0), (0.01, 7.9)]), 1, "the first one is missed");
        assert_eq!(tightest(&[(0.03, 12.0), (0.02, 10.0), (0.01, 9.9)]), 1, "the first one is dear");
        assert_eq!(tightest(&[(0.03, 10.0), (0.02, 10.0)]), 0);
        assert_eq!(tightest(&[(0.2, 10.0), (0.1, 10.0), (0.3, 1.0)]), 1, "none is kept");
    }

    #[test]
    fn more_servers_at_least_have_to_help() {
        assert_eq!(enough(&[0.04, 0.03, 0.02, 0.0199]), 2);
        assert_eq!(enough(&[0.0004, 0.0001]), 0, "there is hardly anything to help");
        assert_eq!(enough(&[0.04]), 0);
    }

    #[test]
    fn quiet_times_need_a_longer_window() {
        let length = |rate| window(rate).0.map(|window| (window.length.as_secs(), window.min_samples));
        assert_eq!(length(10.0), None);
        assert_eq!(length(2.0), Some((60, 50)));
        assert_eq!(length(0.4), Some((300, 50)));
        assert_eq!(length(0.01), Some((300, 10)));
    }

    #[test]
    fn minutes_without_requests_are_no_quiet_times() {
        let busy = (0..600).map(|n| f64::from(n) / 2.0);
        assert_eq!(quiet_rate(busy, 3600.0), 2.0);
        assert_eq!(quiet_rate([0.5, 1.5].into_iter(), 2.0), 1.0);
    }
}
