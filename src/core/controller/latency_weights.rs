//! `weights: by_latency`: a server that is slower than its peers gets less.
//!
//! In: the median of each serving server, over the window. Out: shares of their full weights, never below a third, that
//! follow slowly: other weights make other latencies. `policy: model` does without: it compares servers with as
//! many requests on them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Action;
use super::backend::Backend;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::BackendState;
use crate::core::settings::{Policy, Weights};

/// The least that a server gets: with less it could not show that it is well again.
const LEAST: f64 = 1.0 / 3.0;
/// Fewer requests say nothing about a server.
const ENOUGH: u64 = 50;
/// After so long two thirds of a change are made.
const SMOOTHING: Duration = Duration::from_secs(30);
/// A smaller difference is not worth another weight.
const WORTH_A_CHANGE: f64 = 0.1;
/// No more often than this.
const AGAIN: Duration = Duration::from_secs(10);
/// So little for so long is an outlier.
const OUTLIER: f64 = 0.5;

/// What each server is to get.
#[derive(Debug, Default)]
pub(super) struct LatencyWeights {
    shares: BTreeMap<ServerId, f64>,
    seen: Option<Instant>,
    asked: Option<Instant>,
}

impl LatencyWeights {
    /// Takes the medians of all serving servers; `None`: too few requests.
    fn observe(&mut self, medians: &[(ServerId, Option<Duration>)], now: Instant) {
        let passed = now.saturating_duration_since(self.seen.replace(now).unwrap_or(now));
        let step = 1.0 - (-passed.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
        self.shares.retain(|server, _| medians.iter().any(|(id, _)| id == server));
        for &(server, own) in medians {
            let share = self.shares.entry(server).or_insert(1.0);
            let mut peers: Vec<Duration> =
                medians.iter().filter(|(id, _)| *id != server).filter_map(|&(_, median)| median).collect();
            peers.sort_unstable();
            if let (Some(own), Some(theirs)) = (own, peers.get(peers.len() / 2)) {
                let fair = theirs.as_secs_f64() / own.as_secs_f64().max(f64::MIN_POSITIVE);
                *share += step * (fair.clamp(LEAST, 1.0) - *share);
            }
        }
    }

    /// All shares, if they are worth another weight than `present`.
    fn wish(&mut self, present: impl Fn(ServerId) -> f64, now: Instant) -> Option<Vec<(ServerId, f64)>> {
        let full_or = |share: f64| if share > 1.0 - WORTH_A_CHANGE / 2.0 { 1.0 } else { share };
        let wanted: Vec<_> = self.shares.iter().map(|(&server, &share)| (server, full_or(share))).collect();
        let is_worth_it = wanted.iter().any(|&(server, share)| {
            let difference = (share - present(server)).abs();
            difference > WORTH_A_CHANGE || (share == 1.0 && difference > 0.0)
        });
        let may = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= AGAIN);
        (is_worth_it && may).then(|| {
            self.asked = Some(now);
            wanted
        })
    }

    /// `server` is so slow that it gets half of its weight at most.
    pub(super) fn is_outlier(&self, server: ServerId) -> bool {
        self.shares.get(&server).is_some_and(|&share| share <= OUTLIER)
    }
}

impl Backend {
    /// Looks at the servers' latencies.
    pub(super) fn compare_latencies(&mut self, state: &BackendState, now: Instant) {
        if !self.weighs_by_latency() {
            self.latency_weights = LatencyWeights::default();
            return;
        }
        let medians: Vec<_> = state
            .serving()
            .map(|server| {
                let snapshot = self.estimator.server(server.id, now);
                (server.id, snapshot.filter(|shown| shown.samples >= ENOUGH).and_then(|shown| shown.p50))
            })
            .collect();
        self.latency_weights.observe(&medians, now);
    }

    /// Gives the servers the shares that their latencies ask for. True if that takes a plan.
    pub(super) fn weigh_by_latency(
        &mut self,
        state: &BackendState,
        names: &Names,
        now: Instant,
        actions: &mut VecDeque<Action>,
    ) -> bool {
        let may = state.takes_weights()
            && (self.shares.is_some() || !self.claims.hold_weights(state))
            && self.doubt.is_none();
        if !self.weighs_by_latency() || !may {
            return false;
        }
        let shares = &self.shares;
        let present = |server| shares.as_ref().map_or(1.0, |shares| shares.of(server));
        let Some(wanted) = self.latency_weights.wish(present, now) else { return false };
        self.share_out(&wanted, state, names, now, actions)
    }

    fn weighs_by_latency(&self) -> bool {
        self.settings.weights == Weights::ByLatency && self.settings.policy == Policy::Threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares in percent after two minutes in which the servers' medians are `ms`; 0: too few requests.
    #[track_caller]
    fn check(ms: &[u64], expected: &[u32]) {
        let names = Names::default();
        let backend = names.backend("web").expect("there is room");
        let servers: Vec<ServerId> =
            (0..ms.len()).map(|n| names.server(backend, &format!("s{n}")).expect("there is room")).collect();
        let median = |&ms: &u64| (ms > 0).then(|| Duration::from_millis(ms));
        let medians: Vec<_> = servers.iter().copied().zip(ms.iter().map(median)).collect();
        let (mut weights, start) = (LatencyWeights::default(), Instant::now());
        for second in 0..=120 {
            weights.observe(&medians, start + Duration::from_secs(second));
        }
        let wish = weights.wish(|_| 1.0, start + Duration::from_secs(120)).unwrap_or_default();
        let found: Vec<u32> = wish.iter().map(|(_, share)| (share * 100.0).round() as u32).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn equals_keep_their_weights() {
        check(&[80, 82, 85, 79], &[]);
    }

    #[test]
    fn a_slower_server_gets_less_and_never_below_a_third() {
        check(&[100, 50], &[51, 100]);
        check(&[80, 80, 160, 9000], &[100, 100, 51, 35]);
    }

    #[test]
    fn too_few_requests_change_nothing() {
        check(&[0, 50, 50], &[]);
        check(&[0, 500], &[]);
    }

    #[test]
    fn one_slow_second_is_no_reason() {
        let names = Names::default();
        let backend = names.backend("web").expect("there is room");
        let ids = ["a", "b"].map(|name| names.server(backend, name).expect("there is room"));
        let (mut weights, start) = (LatencyWeights::default(), Instant::now());
        let quick = Some(Duration::from_millis(50));
        weights.observe(&[(ids[0], quick), (ids[1], quick)], start);
        let second = start + Duration::from_secs(1);
        weights.observe(&[(ids[0], quick), (ids[1], Some(Duration::from_secs(9)))], second);
        assert_eq!(weights.wish(|_| 1.0, second), None);
    }
}
