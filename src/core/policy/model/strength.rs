//! What the servers carry together, each by what is known of it.
//!
//! One server is what the backend's figure says one carries. Those of which nothing else is known count as one, those
//! that are notably smaller or larger as what their own curve shows, and none as more than its weight lets it have.

use super::weights::Weighing;
use crate::core::estimate::load::LoadFigures;
use crate::core::names::ServerId;
use crate::core::policy::pool::{Member, Pool, Stage};

/// Who carries so many times as much as the others, or as little, is named.
const NOTABLE: f64 = 1.3;

/// The servers of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Strength {
    /// Those that serve,
    serving: Vec<(ServerId, f64)>,
    /// are being started,
    starting: Vec<f64>,
    /// or could be, in the order in which they would.
    to_come: Vec<f64>,
    /// The most that one of them all carries, 1 at least.
    most: f64,
    is_equal: bool,
}

impl Strength {
    pub(super) fn of(load: &LoadFigures, pool: &Pool, weighing: &Weighing) -> Self {
        let carries = |member: &Member| carries(load, member.server);
        let serving = || pool.at(Stage::Serving);
        let best = serving().map(carries).reduce(f64::max).unwrap_or(1.0);
        let least = serving().map(carries).reduce(f64::min).unwrap_or(1.0);
        // With a weight below its full one it gets no more than that of what the best one has. Where there are no
        // weights all get as much as the least one carries.
        let by_weight = |member: &Member| match (pool.takes_weights, weighing.is_shifted(member.server)) {
            (_, true) => carries(member),
            (true, false) => carries(member).min(member.share.clamp(0.0, 1.0) * best),
            (false, false) => least.min(member.share.clamp(0.0, 1.0)),
        };
        let at = |stage| pool.at(stage).map(carries);
        Self {
            serving: serving().map(|member| (member.server, by_weight(member))).collect(),
            starting: at(Stage::Starting).collect(),
            to_come: at(Stage::Parked).chain(at(Stage::Spare)).collect(),
            most: pool.servers.iter().map(carries).fold(1.0, f64::max),
            is_equal: pool.servers.iter().all(|member| ratio(load, member.server).is_none()),
        }
    }

    /// Nothing is known that makes one carry more than another.
    pub(super) fn is_equal(&self) -> bool {
        self.is_equal
    }

    /// Of those that serve.
    pub(super) fn serving(&self) -> f64 {
        self.serving.iter().map(|(_, carries)| carries).sum()
    }

    /// Of those that serve, or soon will.
    pub(super) fn have(&self) -> f64 {
        self.serving() + self.starting.iter().sum::<f64>()
    }

    /// The most that one server carries, 1 at least.
    pub(super) fn most(&self) -> f64 {
        self.most
    }

    /// Servers' worth that those that serve, or soon will, carry less than as many equal ones; below 0: more.
    pub(super) fn lost(&self) -> f64 {
        let of = |carries: f64| 1.0 - carries;
        let serving: f64 = self.serving.iter().map(|&(_, carries)| of(carries)).sum();
        serving + self.starting.iter().copied().map(of).sum::<f64>()
    }

    /// The fewest of those to come that carry `missing` together; all of them if they do not.
    pub(super) fn newcomers(&self, missing: f64) -> u32 {
        let mut sum = 0.0;
        let too_few = self.to_come.iter().take_while(|carries| {
            sum += **carries;
            sum < missing
        });
        let too_few = too_few.count();
        count(if too_few < self.to_come.len() { too_few + 1 } else { too_few }).max(u32::from(missing > 0.0))
    }

    /// What is left of those that serve once the first `gone` of `leaving` are away.
    pub(super) fn without(&self, leaving: &[ServerId], gone: usize) -> f64 {
        let leaving = leaving.get(..gone).unwrap_or(leaving);
        self.serving.iter().filter(|(server, _)| !leaving.contains(server)).map(|(_, carries)| carries).sum()
    }
}

/// How many times as much as the backend's figure says `server` carries.
pub(super) fn carries(load: &LoadFigures, server: ServerId) -> f64 {
    ratio(load, server).unwrap_or(1.0)
}

/// The same; `None`: about as much.
fn ratio(load: &LoadFigures, server: ServerId) -> Option<f64> {
    let at = load.unequal.binary_search_by_key(&server, |(server, _)| *server).ok()?;
    load.unequal.get(at).map(|(_, ratio)| *ratio)
}

/// The serving servers that carry notably less or more than the others do on average, and how many times as much.
pub(super) fn unequal(load: &LoadFigures, pool: &Pool) -> Vec<(ServerId, f64)> {
    if load.unequal.is_empty() {
        return Vec::new();
    }
    let carries = |member: &Member| carries(load, member.server);
    let all: f64 = pool.at(Stage::Serving).map(carries).sum();
    let others = pool.at(Stage::Serving).count().saturating_sub(1);
    if others == 0 {
        return Vec::new();
    }
    let told = |member: &Member| {
        let own = carries(member);
        (member.server, own * others as f64 / (all - own).max(f64::MIN_POSITIVE))
    };
    let is_notable = |(_, ratio): &(ServerId, f64)| ratio.ln().abs() > NOTABLE.ln();
    pool.at(Stage::Serving).map(told).filter(is_notable).collect()
}

fn count(servers: usize) -> u32 {
    u32::try_from(servers).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::model::testing::{World, steady};

    /// Servers that carry so many times as much as the backend's figure says, the first `serving` of them serving.
    fn strength(ratios: &[f64], serving: u32, takes_weights: bool) -> Strength {
        let mut pool = World::new(serving, ratios.len() as u32).pool;
        pool.takes_weights = takes_weights;
        let mut load = steady(100.0);
        let of = pool.servers.iter().map(|member| member.server).zip(ratios.iter().copied());
        load.unequal = of.filter(|(_, ratio)| *ratio != 1.0).collect();
        Strength::of(&load, &pool, &Weighing::default())
    }

    #[test]
    fn what_servers_carry_is_added_up() {
        let mixed = strength(&[1.0, 0.5, 0.25, 0.25, 1.0, 2.0], 3, true);
        assert_eq!((mixed.serving(), mixed.have(), mixed.lost()), (1.75, 1.75, 1.25));
        assert!(!mixed.is_equal() && mixed.most() == 2.0);
        assert!(strength(&[1.0; 4], 2, true).is_equal());
    }

    #[test]
    fn where_there_are_no_weights_all_carry_as_much_as_the_weakest() {
        assert_eq!(strength(&[1.0, 0.5, 2.0], 3, false).serving(), 1.5);
    }

    #[test]
    fn as_many_newcomers_come_as_help_enough() {
        let mixed = strength(&[1.0, 0.25, 0.25, 1.0, 2.0], 1, true);
        let newcomers = [0.1, 0.5, 0.6, 1.5, 2.0, 9.0].map(|missing| mixed.newcomers(missing));
        assert_eq!(newcomers, [1, 2, 3, 3, 4, 4]);
    }
}
