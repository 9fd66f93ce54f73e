//! What each request cost: for how long it would have kept a worker of its server busy, had none been in its way.
//!
//! In: when requests were on a server, and how many it works on side by side. Out: the cost of each. What stood on
//! the server at the time is taken out of Tr exactly, for both ways a server can work:
//!
//! - in turn: the k-th request to come begins when the (k - workers)-th has gone;
//! - all share the cores: each gets `workers / n` of one while `n` are there.
//!
//! In turn nobody overtakes: where many did, the cores were shared.

/// A stay on a server, from the first moment to the answer's headers, seconds; `until_s` is above `from_s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stay {
    /// The request, by its place.
    pub(super) request: usize,
    pub(super) from_s: f64,
    pub(super) until_s: f64,
}

/// All stays on one server.
#[derive(Clone, Debug)]
pub(super) struct Stays {
    /// In the order they began.
    pub(super) all: Vec<Stay>,
    /// When each ended, and which it is; in order.
    ends: Vec<(f64, usize)>,
}

/// What was found out about the stays on one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Costs {
    /// Of each stay, in their order, if they were served in turn, seconds; not above 0: it overtook others.
    in_turn: Vec<f64>,
    /// If all shared the cores, seconds.
    shared: Vec<f64>,
    /// How many others each found.
    others: Vec<u32>,
    /// Stays that found no free worker.
    waited: u64,
    /// Of them those that overtook others.
    overtook: u64,
}

/// By so much the milliseconds of a line may be wrong, seconds.
const ROUNDING_S: f64 = 2e-3;
/// Nothing costs less, seconds: the half of what rounds to 0 ms.
const LEAST_S: f64 = 0.5e-3;
/// Of those that waited so many overtook others: the cores were shared.
const OVERTOOK: f64 = 0.1;
/// A request that found at most this share of the workers busy was alone; one that found so many times as many as
/// there are workers was in a crowd.
const ALONE: f64 = 0.6;
const CROWD: f64 = 1.5;
/// Fewer of either kind say nothing.
const ENOUGH: f64 = 200.0;

impl Stays {
    pub(super) fn new(mut all: Vec<Stay>) -> Self {
        all.sort_by(|a, b| a.from_s.total_cmp(&b.from_s).then(a.until_s.total_cmp(&b.until_s)));
        let mut ends: Vec<(f64, usize)> =
            all.iter().enumerate().map(|(place, stay)| (stay.until_s, place)).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { all, ends }
    }

    /// What each cost on a server of so many workers.
    pub(super) fn costs(&self, workers: u32) -> Costs {
        let in_turn = self.in_turn(workers as usize);
        let (shared, others) = self.shared(f64::from(workers));
        let mut costs = Costs { in_turn, shared, others, waited: 0, overtook: 0 };
        for (stay, &cost) in self.all.iter().zip(&costs.in_turn) {
            let waited = cost < stay.until_s - stay.from_s - ROUNDING_S;
            costs.waited += u64::from(waited);
            costs.overtook += u64::from(waited && cost < -ROUNDING_S);
        }
        costs
    }

    fn in_turn(&self, workers: usize) -> Vec<f64> {
        let begins = |place: usize, stay: &Stay| match place.checked_sub(workers) {
            Some(gone) => stay.from_s.max(self.ends[gone].0),
            None => stay.from_s,
        };
        self.all.iter().enumerate().map(|(place, stay)| stay.until_s - begins(place, stay)).collect()
    }

    /// What each cost, and how many others it found.
    fn shared(&self, workers: f64) -> (Vec<f64>, Vec<u32>) {
        let (mut cost, mut others) = (vec![0.0; self.all.len()], vec![0; self.all.len()]);
        // What a request that was there all the time would have got.
        let (mut got_s, mut at_s, mut there) = (0.0, 0.0, 0_u32);
        let (mut next_begin, mut next_end) = (0, 0);
        while let Some(&(end_s, place)) = self.ends.get(next_end) {
            let begin_s = self.all.get(next_begin).map_or(f64::INFINITY, |stay| stay.from_s);
            let now_s = begin_s.min(end_s);
            if there > 0 {
                got_s += (now_s - at_s) * (workers / f64::from(there)).min(1.0);
            }
            at_s = now_s;
            // A stay that lasts no time at all begins before it ends.
            if begin_s <= end_s {
                (cost[next_begin], others[next_begin]) = (-got_s, there);
                (next_begin, there) = (next_begin + 1, there + 1);
            } else {
                cost[place] += got_s;
                (next_end, there) = (next_end + 1, there - 1);
            }
        }
        (cost, others)
    }
}

impl Costs {
    /// What each stay cost, seconds, above 0.
    pub(super) fn each(&self, is_in_turn: bool) -> impl Iterator<Item = f64> {
        let both = self.in_turn.iter().zip(&self.shared);
        both.map(
            move |(&in_turn, &shared)| {
                if is_in_turn && in_turn > 0.0 { in_turn.max(LEAST_S) } else { shared.max(LEAST_S) }
            },
        )
    }
}

/// Whether requests were served in turn, as far as `all` servers show it.
pub(super) fn is_in_turn(all: &[Costs]) -> bool {
    let sum = |count: fn(&Costs) -> u64| all.iter().map(count).sum::<u64>() as f64;
    sum(|costs| costs.overtook) <= OVERTOOK * sum(|costs| costs.waited)
}

/// So many times as much a request in a crowd costs as one that was alone, by what `workers` are said to be. What it
/// costs is its own affair: where this is not 1, there are not so many workers. `None`: too few of either.
pub(super) fn bias(all: &[Costs], workers: f64) -> Option<f64> {
    let in_turn = is_in_turn(all);
    let (mut alone, mut crowd) = ((0.0, 0.0), (0.0, 0.0));
    for costs in all {
        for (cost, &others) in costs.each(in_turn).zip(&costs.others) {
            let there = f64::from(others) + 1.0;
            let (count, sum) = match there / workers {
                share if share <= ALONE => &mut alone,
                share if share >= CROWD => &mut crowd,
                _ => continue,
            };
            (*count, *sum) = (*count + 1.0, *sum + cost);
        }
    }
    let mean = |(count, sum): (f64, f64)| (count >= ENOUGH).then(|| sum / count);
    Some(mean(crowd)? / mean(alone)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stays as (from, until) in order, and their costs in turn and shared; seconds.
    #[track_caller]
    fn check(workers: u32, stays: &[(f64, f64)], in_turn: &[f64], shared: &[f64]) {
        let stay = |(request, &(from_s, until_s))| Stay { request, from_s, until_s };
        let costs = Stays::new(stays.iter().enumerate().map(stay).collect()).costs(workers);
        for (is_in_turn, expected) in [(true, in_turn), (false, shared)] {
            let found: Vec<f64> = costs.each(is_in_turn).collect();
            let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9);
            assert!(near, "{found:?} and not {expected:?}");
        }
    }

    #[test]
    fn what_found_a_free_worker_cost_what_it_took() {
        check(2, &[(0.0, 1.0), (0.5, 3.0), (1.0, 1.5)], &[1.0, 2.5, 0.5], &[1.0, 2.5, 0.5]);
    }

    #[test]
    fn waiting_is_no_cost() {
        check(
            1,
            &[(0.0, 1.0), (0.0, 3.0), (0.0, 3.5)],
            &[1.0, 2.0, 0.5],
            &[1.0 / 3.0, 1.0 / 3.0 + 1.0, 1.0 / 3.0 + 1.5],
        );
    }

    #[test]
    fn half_a_core_for_each_of_two() {
        check(1, &[(0.0, 2.0), (0.0, 3.0)], &[2.0, 1.0], &[1.0, 2.0]);
    }

    #[test]
    fn who_overtakes_shared_the_cores() {
        let stays = [(0.0, 5.0), (0.1, 0.5), (0.2, 0.6)];
        let stays: Vec<Stay> =
            stays.iter().map(|&(from_s, until_s)| Stay { request: 0, from_s, until_s }).collect();
        let costs = Stays::new(stays).costs(1);
        assert!(costs.each(true).all(|cost| cost > 0.0));
        assert!(!is_in_turn(&[costs]));
    }
}
