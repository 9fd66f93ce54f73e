//! Servers that get less than their full weight, and why.
//!
//! ```text
//!            takes much longer than its peers with as many requests, or fails many more of them
//!   full ------------------------------------------------------------------------------> SLOW, FAILING
//!     ^  \                            as its peers again, for a while                        |
//!     |   '----------------------------------------------------------------------------------'
//!     |  so much work is queued in it that its own requests come too late, and the others can
//!     |  carry everything
//!     '---------------------> SHIFTED --- the queue is gone ---> full
//! ```
//! A server may be SLOW and SHIFTED at once. Absent on purpose: weight 0, which would take a server
//! away without a plan, and a backend in which no server has its full weight.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::capacity::Promise;
use super::evaluation::Carried;
use super::guard::lower_bound;
use super::need::Capacity;
use super::strength;
use crate::core::estimate::load::{LoadFigures, ServerLoad};
use crate::core::names::ServerId;
use crate::core::policy::decision::Reason;
use crate::core::policy::pool::{Member, Pool, Stage};
use crate::core::settings::OutlierSettings;

/// So many times as slow as the median of its peers: SLOW; below the second: no longer.
const SLOW: f64 = 1.6;
const AS_ITS_PEERS: f64 = 1.25;
/// So long it must have been so.
const CONFIRMED: Duration = Duration::from_secs(5);
/// And before it is let back where nothing proves it: with little weight there are few requests to see
/// failures in, or none at all.
const UNPROVEN: Duration = Duration::from_secs(60);
/// A relapse within this makes the way back four times as long, up to the second.
const RELAPSE: Duration = Duration::from_secs(2 * 3600);
const LONGEST_WAY_BACK: Duration = Duration::from_secs(3600);
/// A ratio that differs less than this is not worth another weight.
const WORTH_A_CHANGE: f64 = 0.2;
/// No server gets less than this for being slow or failing: it could not show that it is well again.
const LEAST_SHARE: f64 = 0.1;
/// Fewer requests do not show that a server fails more than its peers.
const LEAST_REQUESTS: u64 = 20;
/// So many of its requests fail at least, beyond twice what its peers fail.
const FAILING: f64 = 0.05;
/// What a SHIFTED server gets.
const SHIFTED_SHARE: f64 = 0.05;
/// Its requests wait this share of the target at least; SHIFTED no more below the second.
const OVERFULL: f64 = 0.75;
const EMPTY: f64 = 0.25;
/// The others carry everything with so much of their workers busy, or with less where the target allows less: else
/// servers with one worker each are late by turns. With more, one burst tips servers that get slower the more they
/// have to do, one after the other (`simulate thrash`).
const CARRIED: f64 = 0.8;
/// Connections beyond this many times its workers are not requests at work: they would be cut off.
const LONG_LIVED: f64 = 4.0;
/// A weight that HAProxy has not taken is asked for again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// What is known of the servers, and which weights were asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Weighing {
    servers: BTreeMap<ServerId, Standing>,
    asked_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    mark: Option<Mark>,
    shifted: Option<Duration>,
    /// What it carries of what the best of them does, if that is less.
    part: Option<f64>,
    /// It seems to be an outlier, or to be one no more, since then.
    turning: Option<Instant>,
    /// It was an outlier before, so many times in a row, the last time until then.
    relapses: u32,
    recovered: Option<Instant>,
    /// What was asked for; `None`: it is left at what it has.
    asked: Option<f64>,
}

/// Why a server is an outlier.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    /// So many times as slow as its peers.
    Slow(f64),
    /// So many of its requests failed.
    Failing(u64, u64),
}

impl Mark {
    fn share(self) -> f64 {
        match self {
            Self::Slow(ratio) => (1.0 / ratio).clamp(LEAST_SHARE, 1.0),
            Self::Failing(..) => LEAST_SHARE,
        }
    }
}

impl Standing {
    fn share(&self) -> f64 {
        let share = self.mark.map_or(1.0, Mark::share).min(self.part.unwrap_or(1.0));
        if self.shifted.is_some() { share.min(SHIFTED_SHARE) } else { share }
    }

    /// Takes what one look at it says; `may_be_marked`: not too many others are.
    fn see(&mut self, seen: Seen, may_be_marked: bool, now: Instant) {
        let for_so_long =
            |turning: &mut Option<Instant>| now.saturating_duration_since(*turning.get_or_insert(now));
        match (self.mark, seen) {
            (None, Seen::Outlier(mark)) => {
                if for_so_long(&mut self.turning) >= CONFIRMED && may_be_marked {
                    let is_relapse = |at| now.saturating_duration_since(at) < RELAPSE;
                    self.relapses = if self.recovered.is_some_and(is_relapse) {
                        self.relapses.saturating_add(1)
                    } else {
                        0
                    };
                    (self.mark, self.turning) = (Some(mark), None);
                }
            }
            (Some(mark), Seen::Like | Seen::Nothing) => {
                if for_so_long(&mut self.turning) >= self.way_back(mark, seen) {
                    (self.mark, self.turning) = (None, None);
                    self.recovered = Some(now);
                }
            }
            (Some(old), Seen::Outlier(mark)) => {
                self.turning = None;
                if is_worth_it(old.share(), mark.share()) {
                    self.mark = Some(mark);
                }
            }
            (None, _) | (Some(_), Seen::Between) => self.turning = None,
        }
    }

    /// How long it must be as its peers before it has its full weight again.
    fn way_back(&self, mark: Mark, seen: Seen) -> Duration {
        let first = match (mark, seen) {
            (Mark::Slow(_), Seen::Like) => CONFIRMED,
            _ => UNPROVEN,
        };
        first.saturating_mul(4_u32.saturating_pow(self.relapses)).min(LONGEST_WAY_BACK)
    }

    fn reason(&self, server: ServerId) -> Reason {
        let share = self.share();
        match (self.shifted, self.mark) {
            (None, None) if self.part.is_some() => Reason::Smaller { server, share },
            (Some(wait), _) => Reason::Overfull { server, wait, share },
            (None, Some(Mark::Slow(ratio))) => Reason::Slow { server, ratio, share },
            (None, Some(Mark::Failing(failed, of))) => Reason::Failing { server, failed, of, share },
            (None, None) => Reason::Recovered { server },
        }
    }
}

impl Weighing {
    /// Takes the figures of `now`.
    pub(super) fn observe(
        &mut self,
        load: &LoadFigures,
        pool: &Pool,
        carried: &Carried,
        promise: Promise,
        outliers: OutlierSettings,
        now: Instant,
    ) {
        self.servers.retain(|id, _| pool.at(Stage::Serving).any(|member| member.server == *id));
        for member in pool.at(Stage::Serving) {
            self.servers.entry(member.server).or_default();
        }
        self.mark(load, outliers, now);
        if pool.takes_weights {
            self.shift(load, pool, carried, promise);
        }
        self.keep_one_full();
    }

    /// Has each server get as much as it carries, where one carries notably more than another.
    pub(super) fn share_by_strength(&mut self, load: &LoadFigures, pool: &Pool) {
        let carries = |id: ServerId| strength::carries(load, id);
        let best = pool.at(Stage::Serving).map(|member| carries(member.server)).fold(0.0, f64::max);
        for (id, standing) in &mut self.servers {
            let part = (carries(*id) / best).max(LEAST_SHARE);
            if part >= 1.0 {
                standing.part = None;
            } else if is_worth_it(standing.part.unwrap_or(1.0), part) {
                standing.part = Some(part);
            }
        }
    }

    /// Where servers went, those that are left may all have been given less.
    fn keep_one_full(&mut self) {
        if self.servers.values().all(|standing| standing.share() < 1.0)
            && let Some(best) = self.servers.values_mut().max_by(|a, b| a.share().total_cmp(&b.share()))
        {
            (best.mark, best.shifted) = (None, None);
        }
    }

    /// `server` is SLOW or FAILING.
    pub(super) fn is_outlier(&self, server: ServerId) -> bool {
        self.servers.get(&server).is_some_and(|standing| standing.mark.is_some())
    }

    /// Some server is SHIFTED.
    pub(super) fn shifts(&self) -> bool {
        self.servers.values().any(|standing| standing.shifted.is_some())
    }

    /// Which servers to take away first: outliers, the worst first, then those that carry least, then those without
    /// long-lived connections, then the last in HAProxy's order. SHIFTED ones go last: work is queued in them.
    pub(super) fn prefer(&self, load: &LoadFigures, pool: &Pool, capacity: &Capacity) -> Vec<ServerId> {
        let mut members: Vec<&Member> = pool.at(Stage::Serving).filter(|member| member.removable).collect();
        members.reverse();
        let carries = |member: &Member| strength::carries(load, member.server);
        let best = pool.at(Stage::Serving).map(carries).fold(f64::MIN_POSITIVE, f64::max);
        let badness = |member: &Member| match self.servers.get(&member.server) {
            Some(Standing { shifted: Some(_), .. }) => 1.0,
            Some(Standing { mark: Some(mark), .. }) => mark.share() - 2.0,
            _ => member.share.clamp(0.0, 1.0).min(carries(member) / best) - 1.0,
        };
        let held = |member: &Member| (f64::from(member.sessions) / (LONG_LIVED * capacity.workers)) as u32;
        members.sort_by(|a, b| badness(a).total_cmp(&badness(b)).then(held(a).cmp(&held(b))));
        members.into_iter().map(|member| member.server).collect()
    }

    /// Weights that are to be changed, and why; `None`: they are as they should be.
    pub(super) fn wish(&mut self, pool: &Pool, now: Instant) -> Option<(Vec<(ServerId, f64)>, Reason)> {
        if !pool.takes_weights {
            return None;
        }
        let may_repeat = self.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= AGAIN);
        let differs = |member: &&Member| {
            let Some(standing) = self.servers.get(&member.server) else { return false };
            let wanted = standing.share();
            let asked = standing.asked.unwrap_or(1.0);
            let is_new = is_worth_it(asked, wanted);
            let was_not_done = standing.asked.is_some() && is_worth_it(member.share, wanted);
            is_new || (was_not_done && may_repeat)
        };
        let first = pool.at(Stage::Serving).filter(differs).min_by(|a, b| {
            let share = |member: &Member| self.servers.get(&member.server).map_or(1.0, Standing::share);
            share(a).total_cmp(&share(b))
        })?;
        let reason = self.servers.get(&first.server)?.reason(first.server);
        Some((self.ask(pool, now), reason))
    }

    /// Every serving server's share. One that was never touched keeps what somebody else gave it.
    fn ask(&mut self, pool: &Pool, now: Instant) -> Vec<(ServerId, f64)> {
        self.asked_at = Some(now);
        let mut shares = Vec::new();
        for member in pool.at(Stage::Serving) {
            let standing = self.servers.entry(member.server).or_default();
            if standing.asked.is_some() || standing.share() < 1.0 {
                standing.asked = Some(standing.share());
            }
            shares.push((member.server, standing.asked.unwrap_or(member.share)));
        }
        shares
    }

    pub(super) fn is_shifted(&self, server: ServerId) -> bool {
        self.servers.get(&server).is_some_and(|standing| standing.shifted.is_some())
    }

    /// Not too many of them: with more it is not the servers.
    fn mark(&mut self, load: &LoadFigures, outliers: OutlierSettings, now: Instant) {
        let peers: Vec<&ServerLoad> =
            load.servers.iter().filter(|server| self.servers.contains_key(&server.server)).collect();
        let marked = self.servers.values().filter(|standing| standing.mark.is_some()).count();
        let mut room = outliers.most_of(self.servers.len()).saturating_sub(marked);
        for (id, standing) in &mut self.servers {
            let seen = peers
                .iter()
                .find(|peer| peer.server == *id)
                .map_or(Seen::Nothing, |server| outlier(server, &peers));
            let was_marked = standing.mark.is_some();
            standing.see(seen, room > 0, now);
            room -= usize::from(!was_marked && standing.mark.is_some());
        }
    }

    fn shift(&mut self, load: &LoadFigures, pool: &Pool, carried: &Carried, promise: Promise) {
        let figures = |id: ServerId| load.servers.iter().find(|server| server.server == id);
        let wait = |id: ServerId| Some(figures(id)?.recent? - carried.service);
        for member in pool.at(Stage::Serving) {
            let Some(standing) = self.servers.get_mut(&member.server) else { continue };
            let is_over = match wait(member.server) {
                Some(wait) => wait < EMPTY * promise.below,
                None => f64::from(member.sessions) <= carried.workers,
            };
            if is_over {
                standing.shifted = None;
            }
        }
        let mut full: Vec<(f64, ServerId)> = (pool.at(Stage::Serving))
            .filter(|member| !self.is_shifted(member.server))
            .filter(|member| {
                figures(member.server).is_some_and(|server| f64::from(server.streams) > carried.workers)
            })
            .filter_map(|member| Some((wait(member.server)?, member.server)))
            .filter(|(wait, _)| *wait > OVERFULL * promise.below)
            .collect();
        full.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (wait, id) in full {
            if self.others_carry(id, load, carried)
                && let Some(standing) = self.servers.get_mut(&id)
            {
                standing.shifted = Some(Duration::try_from_secs_f64(wait).unwrap_or_default());
            }
        }
    }

    /// The servers that are not SHIFTED can do without this one, and one of them has its full weight.
    fn others_carry(&self, without: ServerId, load: &LoadFigures, each: &Carried) -> bool {
        let others = || {
            let others = self.servers.iter().filter(move |(id, _)| **id != without);
            others.map(|(_, standing)| standing).filter(|standing| standing.shifted.is_none())
        };
        let arrivals = load.arrivals.last_3.max(load.arrivals.last_5);
        let busy = CARRIED.min(each.utilization) * each.workers;
        let carried = others().map(Standing::share).sum::<f64>() * busy;
        others().any(|standing| standing.mark.is_none()) && arrivals * each.service <= carried
    }
}

/// What the figures say about one server against the others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Outlier(Mark),
    /// As its peers.
    Like,
    /// Neither.
    Between,
    /// Nobody knows.
    Nothing,
}

fn outlier(server: &ServerLoad, peers: &[&ServerLoad]) -> Seen {
    let others = || peers.iter().filter(|peer| peer.server != server.server);
    let (failed, of) = server.failed;
    let by_others = others().fold((0, 0), |sum, peer| (sum.0 + peer.failed.0, sum.1 + peer.failed.1));
    let usual = if by_others.1 == 0 { 0.0 } else { by_others.0 as f64 / by_others.1 as f64 };
    let knows_failures = of >= LEAST_REQUESTS && by_others.1 >= LEAST_REQUESTS;
    if knows_failures && lower_bound(failed, of) > FAILING + 2.0 * usual {
        return Seen::Outlier(Mark::Failing(failed, of));
    }
    let fails_no_more = failed as f64 <= (0.5 * FAILING + usual) * of as f64;
    let mut slowness: Vec<f64> = others().filter_map(|peer| peer.slowness).collect();
    slowness.sort_by(f64::total_cmp);
    let (Some(own), Some(median)) = (server.slowness, slowness.get(slowness.len() / 2)) else {
        return Seen::Nothing;
    };
    match own / median.max(1e-9) {
        ratio if ratio > SLOW => Seen::Outlier(Mark::Slow(ratio)),
        ratio if ratio < AS_ITS_PEERS && fails_no_more => Seen::Like,
        _ => Seen::Between,
    }
}

/// HAProxy's weights are whole numbers, and a few percent change nothing.
fn is_worth_it(share: f64, wanted: f64) -> bool {
    (share - wanted).abs() > WORTH_A_CHANGE * wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::model::testing::{World, steady};

    /// Servers s0, s1, ... that take requests, as their log shows them.
    struct Pond {
        weighing: Weighing,
        load: LoadFigures,
        carried: Carried,
        pool: Pool,
        now: Instant,
    }

    impl Pond {
        fn new(servers: u32) -> Self {
            let pool = World::new(servers, servers).pool;
            let mut load = steady(40.0 * f64::from(servers));
            load.servers = pool.servers.iter().map(|member| well(member.server)).collect();
            let carried = Carried {
                service: 0.08,
                workers: 8.0,
                knee: true,
                utilization: 0.8,
                gamma: 1.0,
                room: 1.0,
                carries: 6.4,
                floor: 0.01,
                limit: None,
            };
            Self { weighing: Weighing::default(), load, carried, pool, now: Instant::now() }
        }

        fn lost(&self) -> f64 {
            strength::Strength::of(&self.load, &self.pool, &self.weighing).lost()
        }

        /// So many seconds; what is asked for in the end, as percent and a key, a change each.
        fn watch(&mut self, seconds: u32) -> Vec<String> {
            let promise = Promise { below: 0.4, budget: 0.05 };
            let mut changes = Vec::new();
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                self.weighing.observe(
                    &self.load,
                    &self.pool,
                    &self.carried,
                    promise,
                    OutlierSettings::default(),
                    self.now,
                );
                let Some((shares, reason)) = self.weighing.wish(&self.pool, self.now) else { continue };
                let percent = |share: &f64| format!("{:.0}", share * 100.0);
                let shares: Vec<String> = shares.iter().map(|(_, share)| percent(share)).collect();
                changes.push(format!("{} {}", shares.join("/"), reason.key()));
                self.obey();
            }
            changes
        }

        fn obey(&mut self) {
            for member in &mut self.pool.servers {
                let asked = self.weighing.servers.get(&member.server).and_then(|standing| standing.asked);
                member.share = asked.unwrap_or(member.share);
            }
        }
    }

    fn well(server: ServerId) -> ServerLoad {
        ServerLoad { server, recent: Some(0.08), slowness: Some(1.0), failed: (0, 600), streams: 4 }
    }

    #[test]
    fn a_slow_server_gets_less_until_it_is_as_its_peers_again() {
        let mut pond = Pond::new(4);
        assert!(pond.watch(10).is_empty());
        pond.load.servers[2].slowness = Some(3.0);
        assert!(pond.watch(5).is_empty(), "it might pass");
        assert_eq!(pond.watch(10), ["100/100/33/100 slow"]);
        assert!((pond.lost() - 0.67).abs() < 0.01);
        pond.load.servers[2].slowness = Some(3.3);
        assert!(pond.watch(20).is_empty(), "not worth another weight");
        pond.load.servers[2].slowness = Some(20.0);
        assert_eq!(pond.watch(10), ["100/100/10/100 slow"]);
        pond.load.servers[2].slowness = Some(1.3);
        assert!(pond.watch(60).is_empty());
        pond.load.servers[2].slowness = Some(1.1);
        assert_eq!(pond.watch(10), ["100/100/100/100 recovered"]);
    }

    #[test]
    fn a_relapse_makes_the_way_back_longer() {
        let mut pond = Pond::new(3);
        let way_back = |pond: &mut Pond| {
            pond.load.servers[0].slowness = Some(2.0);
            pond.watch(10);
            pond.load.servers[0].slowness = Some(1.0);
            (1..4000).find(|_| !pond.watch(1).is_empty()).expect("it comes back")
        };
        assert_eq!([way_back(&mut pond), way_back(&mut pond), way_back(&mut pond)], [6, 21, 81]);
    }

    #[test]
    fn a_failing_server_gets_little_and_comes_back_when_its_time_is_over() {
        let mut pond = Pond::new(3);
        pond.load.servers[1].failed = (200, 600);
        assert_eq!(pond.watch(30), ["100/10/100 failing"]);
        pond.load.servers.remove(1);
        assert!(pond.watch(60).is_empty());
        assert_eq!(pond.watch(2), ["100/100/100 recovered"], "without any request on it");
    }

    #[test]
    fn what_all_servers_suffer_from_is_no_servers_fault() {
        let mut pond = Pond::new(3);
        pond.load.servers.iter_mut().for_each(|server| {
            (server.failed, server.slowness) = ((200, 600), Some(4.0));
        });
        assert!(pond.watch(60).is_empty());
    }

    #[test]
    fn one_in_three_at_most_is_an_outlier_and_one_keeps_its_full_weight() {
        let mut pond = Pond::new(6);
        (0..3).for_each(|n| pond.load.servers[n].slowness = Some(3.0));
        pond.load.servers[3].slowness = Some(0.9);
        pond.watch(30);
        let marked = pond.pool.servers.iter().filter(|member| member.share < 1.0).count();
        assert!(marked <= 2, "{marked}");
        let mut pair = Pond::new(2);
        pair.load.servers[0].slowness = Some(3.0);
        assert_eq!(pair.watch(30), ["33/100 slow"]);
        pair.pool.servers.remove(1);
        pair.load.servers.remove(1);
        assert_eq!(pair.watch(5), ["100 recovered"], "a server alone has all of the load anyway");
    }

    #[test]
    fn a_server_with_a_queue_of_its_own_is_left_alone_until_it_is_gone() {
        let mut pond = Pond::new(3);
        (pond.load.servers[0].recent, pond.load.servers[0].streams) = (Some(3.2), 400);
        assert_eq!(pond.watch(10), ["5/100/100 overfull"]);
        assert_eq!(pond.lost(), 0.0, "it has work enough");
        pond.load.servers[0].recent = Some(0.2);
        assert!(pond.watch(10).is_empty());
        pond.load.servers[0].recent = Some(0.1);
        assert_eq!(pond.watch(10), ["100/100/100 recovered"]);
    }

    #[test]
    fn a_queue_stays_where_the_others_cannot_carry_everything() {
        #[track_caller]
        fn check(arrivals: f64, utilization: f64, expected: &[&str]) {
            let mut pond = Pond::new(3);
            pond.carried.utilization = utilization;
            let servers = pond.load.servers.iter();
            let full = |server: &ServerLoad| ServerLoad { recent: Some(3.2), streams: 400, ..*server };
            pond.load = LoadFigures { servers: servers.map(full).collect(), ..steady(arrivals) };
            assert_eq!(pond.watch(10), expected);
        }
        check(200.0, 0.8, &[]); // 16 busy workers, and two servers carry 12.8
        check(120.0, 0.8, &["5/100/100 overfull"]); // 9.6, and one carries 6.4
        check(75.0, 0.8, &["5/5/100 overfull"]);
        check(200.0, 0.9, &[]);
        check(120.0, 0.5, &[]); // two carry 8.0 in time
    }

    #[test]
    fn weights_that_somebody_else_set_are_left_alone() {
        let mut pond = Pond::new(3);
        pond.pool.servers[1].share = 0.5;
        assert!(pond.watch(30).is_empty());
        pond.load.servers[2].slowness = Some(2.0);
        assert_eq!(pond.watch(30), ["100/50/50 slow"]);
    }

    #[test]
    fn a_weight_that_was_not_taken_is_asked_for_again_in_a_while() {
        let mut pond = Pond::new(3);
        pond.load.servers[0].slowness = Some(2.0);
        pond.watch(10);
        pond.pool.servers[0].share = 1.0;
        assert_eq!(pond.watch(10), ["50/100/100 slow"]);
    }

    #[test]
    fn where_weights_have_no_effect_none_are_asked_for() {
        let mut pond = Pond::new(3);
        pond.pool.takes_weights = false;
        pond.load.servers[0].slowness = Some(3.0);
        (pond.load.servers[1].recent, pond.load.servers[1].streams) = (Some(3.2), 400);
        assert!(pond.watch(30).is_empty());
        let capacity = Capacity::new(0.08, 8.0, 6.4, None, 0.06, None);
        let first = pond.weighing.prefer(&pond.load, &pond.pool, &capacity)[0];
        assert_eq!(first, pond.pool.servers[0].server, "the slow one goes first all the same");
    }

    #[test]
    fn outliers_go_first_and_servers_with_the_most_to_lose_last() {
        let mut pond = Pond::new(6);
        pond.load.servers[1].slowness = Some(2.0);
        pond.load.servers[3].failed = (200, 600);
        (pond.load.servers[2].recent, pond.load.servers[2].streams) = (Some(3.2), 400);
        pond.pool.servers[4].sessions = 40;
        pond.pool.servers[0].removable = false;
        pond.watch(30);
        let capacity = Capacity::new(0.08, 8.0, 6.4, None, 0.06, None);
        let order = pond.weighing.prefer(&pond.load, &pond.pool, &capacity);
        let place = |id: &ServerId| pond.pool.servers.iter().position(|member| member.server == *id);
        assert_eq!(order.iter().filter_map(place).collect::<Vec<_>>(), [3, 1, 5, 4, 2]);
    }
}
