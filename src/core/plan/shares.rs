//! Weights that are less for a while: of a server that works off its own queue, or is slower than
//! its peers.
//!
//! A share of 1 is the server's full weight. HAProxy's default weight is 1, which cannot be
//! divided, so all weights of the backend are multiplied first, and put back when no share is
//! below 1 any more.

use std::collections::BTreeMap;

use super::inventory::BackendState;
use super::step::{Plan, Purpose, Step};
use super::weights::{self, WeightList};
use crate::core::names::{Names, ServerId};
use crate::core::settings::BackendSettings;
use crate::core::units::Weight;

/// Shares in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// The weights to put back.
    base: WeightList,
    /// What all of them are multiplied by.
    factor: u16,
    /// Shares below 1.
    less: BTreeMap<ServerId, f64>,
}

impl Shares {
    /// The weights to put back.
    pub fn base(&self) -> &[(ServerId, Weight)] {
        &self.base
    }

    /// The share of `server`, above 0, at most 1.
    pub fn of(&self, server: ServerId) -> f64 {
        self.less.get(&server).copied().unwrap_or(1.0)
    }

    /// Puts all weights back.
    pub fn restoring(&self, backend: &BackendState, settings: &BackendSettings) -> Option<Plan> {
        let is_there = |(server, _): &(ServerId, Weight)| backend.server(*server).is_some();
        let base: WeightList = self.base.iter().copied().filter(is_there).collect();
        (!base.is_empty()).then(|| plan(backend, settings, base))
    }

    /// HAProxy has all weights as they were set.
    pub fn are_in_force(&self, backend: &BackendState) -> bool {
        let is_so = |&(server, weight): &(ServerId, Weight)| {
            backend.server(server).is_none_or(|server| server.weight == weight)
        };
        self.weights().iter().all(is_so)
    }

    /// What is left of them in what HAProxy has: a weight that is not as it was set is somebody
    /// else's, or HAProxy was restarted.
    pub fn found_in(self, backend: &BackendState) -> Option<Self> {
        if self.are_in_force(backend) {
            return Some(self);
        }
        let set = self.weights();
        let found = |server| backend.server(server).map(|server| server.weight);
        let is_ours =
            |server: ServerId| set.iter().any(|&(id, weight)| id == server && found(id) == Some(weight));
        let less: BTreeMap<_, _> =
            self.less.iter().map(|(&id, &share)| (id, share)).filter(|&(id, _)| is_ours(id)).collect();
        let full = weights::multiply(&self.base, self.factor);
        let base = full
            .into_iter()
            .filter_map(|(id, weight)| Some((id, if is_ours(id) { weight } else { found(id)? })));
        let left = Self { base: base.collect(), factor: 1, less };
        (!left.less.is_empty()).then_some(left)
    }

    fn weights(&self) -> WeightList {
        let full = weights::multiply(&self.base, self.factor);
        let part = |(id, weight): (ServerId, Weight)| {
            let share = Weight::saturating((f64::from(weight.value()) * self.of(id)).round());
            (id, if weight == Weight::ZERO { weight } else { share.max(Weight::ONE) })
        };
        full.into_iter().map(part).collect()
    }
}

/// What is to be done so that each server in `wanted` has its share, and all others their full
/// weight; and the shares in force afterwards. `None` if nothing is to be done, or weights have no
/// effect.
pub fn share_out(
    wanted: &[(ServerId, f64)],
    now: Option<&Shares>,
    backend: &BackendState,
    settings: &BackendSettings,
    names: &Names,
) -> Option<(Plan, Option<Shares>)> {
    if !backend.takes_weights() {
        return None;
    }
    let less: BTreeMap<_, _> =
        wanted.iter().filter(|(_, share)| (0.0..1.0).contains(share)).copied().collect();
    if less.is_empty() {
        return now?.restoring(backend, settings).map(|plan| (plan, None));
    }
    let shares = match now {
        Some(now) => Shares { less, ..now.clone() },
        None => {
            let base = weights::full(backend, settings, names);
            let smallest = base.iter().map(|&(_, weight)| weight).min()?;
            Shares { factor: weights::factor(&base, smallest), base, less }
        }
    };
    if shares.are_in_force(backend) {
        return None;
    }
    Some((plan(backend, settings, shares.weights()), Some(shares)))
}

fn plan(backend: &BackendState, settings: &BackendSettings, weights: WeightList) -> Plan {
    Plan {
        backend: backend.id,
        purpose: Purpose::Reweigh,
        least_serving: settings.ready.min,
        found: None,
        before: vec![Step::SetWeights(weights)],
        lanes: Vec::new(),
        after: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Site;
    use super::*;

    /// HAProxy with servers of these weights, and shares that are set one after the other.
    struct World {
        site: Site,
        shares: Option<Shares>,
    }

    impl World {
        fn new(weights: &[u32]) -> Self {
            let mut site = Site::new(weights.len());
            for (n, &weight) in weights.iter().enumerate() {
                site.backend.servers[n].weight = Weight::saturating(weight.into());
            }
            Self { site, shares: None }
        }

        /// Sets the shares of `s1`, `s2`, ...; checks the weights HAProxy then has.
        #[track_caller]
        fn check(&mut self, shares: &[f64], expected: &[u16]) {
            let wanted: Vec<_> = self
                .site
                .backend
                .servers
                .iter()
                .map(|server| server.id)
                .zip(shares.iter().copied())
                .collect();
            let site = &mut self.site;
            if let Some((plan, shares)) =
                share_out(&wanted, self.shares.as_ref(), &site.backend, &site.settings, &site.names)
            {
                let [Step::SetWeights(weights)] = &plan.before[..] else { panic!("{plan:?}") };
                for &(id, weight) in weights {
                    let server = site.backend.servers.iter_mut().find(|server| server.id == id);
                    server.expect("it is there").weight = weight;
                }
                self.shares = shares;
            }
            assert_eq!(self.weights(), expected, "{shares:?}");
        }

        fn weights(&self) -> Vec<u16> {
            self.site.backend.servers.iter().map(|server| server.weight.value()).collect()
        }
    }

    #[test]
    fn weights_of_one_are_made_divisible_and_put_back() {
        let mut world = World::new(&[1, 1, 1]);
        world.check(&[1.0, 1.0, 1.0], &[1, 1, 1]);
        world.check(&[0.05, 1.0, 1.0], &[5, 100, 100]);
        world.check(&[0.05, 0.33, 1.0], &[5, 33, 100]);
        world.check(&[1.0, 0.33, 1.0], &[100, 33, 100]);
        world.check(&[1.0, 1.0, 1.0], &[1, 1, 1]);
    }

    #[test]
    fn ratios_stay_and_no_share_is_nothing() {
        let mut world = World::new(&[10, 20]);
        world.check(&[0.5, 1.0], &[50, 200]);
        world.check(&[0.001, 1.0], &[1, 200]);
        let mut world = World::new(&[1, 256]);
        world.check(&[1.0, 0.5], &[1, 128]);
        world.check(&[0.5, 1.0], &[1, 256]);
    }

    #[test]
    fn weights_that_somebody_else_changed_are_theirs() {
        let mut world = World::new(&[1, 1, 1]);
        world.check(&[0.05, 1.0, 0.5], &[5, 100, 50]);
        world.site.server("s3").weight = Weight::saturating(70.0);
        world.shares = world.shares.take().and_then(|shares| shares.found_in(&world.site.backend));
        assert_eq!(world.shares.as_ref().map(|shares| shares.of(world.site.id("s1"))), Some(0.05));
        world.check(&[1.0, 1.0, 1.0], &[100, 100, 70]);
    }

    #[test]
    fn a_restart_leaves_nothing_to_put_back() {
        let mut world = World::new(&[1, 1]);
        world.check(&[0.05, 1.0], &[5, 100]);
        for server in &mut world.site.backend.servers {
            server.weight = Weight::ONE;
        }
        let left = world.shares.take().and_then(|shares| shares.found_in(&world.site.backend));
        assert_eq!(left, None);
    }

    #[test]
    fn an_algorithm_that_takes_no_weights_gets_none() {
        let mut world = World::new(&[1, 1]);
        world.site.backend.dynamic = Some(false);
        world.check(&[0.05, 1.0], &[1, 1]);
    }
}
