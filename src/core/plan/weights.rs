//! Which weight each server has by right, and the finer ones that a ramp needs.
//!
//! HAProxy's default weight is 1, and 1 cannot be divided: so for a ramp all weights of the
//! backend are multiplied by the same number first, which changes no ratio. Backup servers, and
//! servers of weight 0, keep what they have: nobody's share depends on them.

use super::inventory::{BackendState, ServerState};
use super::step::{Plan, Purpose, Step};
use crate::core::names::{Names, ServerId};
use crate::core::settings::{BackendSettings, Weights};
use crate::core::units::Weight;

/// A ramp of whole percents needs a full weight of so much.
const FINE: u16 = 100;

/// Weights of several servers, as [`Step::SetWeights`] takes them.
pub type WeightList = Vec<(ServerId, Weight)>;

/// Sets the weights of `backend` in proportion to the servers' capacities. `None` if that is not
/// wanted, not possible, or so already.
pub fn reweigh(backend: &BackendState, settings: &BackendSettings, names: &Names) -> Option<Plan> {
    let current = current(backend);
    let wanted = full(backend, settings, names);
    if wanted == current || !backend.takes_weights() {
        return None;
    }
    Some(Plan {
        backend: backend.id,
        purpose: Purpose::Reweigh,
        least_serving: settings.ready.min,
        found: None,
        before: vec![Step::SetWeights(wanted)],
        lanes: Vec::new(),
        after: Vec::new(),
    })
}

/// The weights that `backend`'s servers are to have when no ramp is on: those they have, or those
/// in proportion to their capacities where the present ones are not.
pub fn full(backend: &BackendState, settings: &BackendSettings, names: &Names) -> WeightList {
    let current = current(backend);
    match settings.weights {
        Weights::Keep | Weights::ByLatency => current,
        Weights::ByCapacity => {
            let wanted = by_capacity(&current, settings, names);
            if in_proportion(&current, &wanted) { current } else { wanted }
        }
    }
}

/// The largest factor that makes `smallest` fine enough for a ramp, keeps every ratio of `full`,
/// and none above 256; 1 if there is none.
pub fn factor(full: &WeightList, smallest: Weight) -> u16 {
    let largest = full.iter().map(|&(_, weight)| weight.value()).max().unwrap_or(0).max(1);
    let enough = FINE.div_ceil(smallest.value().max(1));
    enough.min(Weight::MAX.value() / largest).max(1)
}

/// `full`, multiplied by `factor`.
pub fn multiply(full: &WeightList, factor: u16) -> WeightList {
    let times = |weight: Weight| Weight::saturating(f64::from(weight.value()) * f64::from(factor));
    full.iter().map(|&(server, weight)| (server, times(weight))).collect()
}

/// The weights of `servers` in `list`.
pub fn of(list: &WeightList, servers: &[ServerId]) -> impl Iterator<Item = Weight> {
    list.iter().filter(|(id, _)| servers.contains(id)).map(|&(_, weight)| weight)
}

fn current(backend: &BackendState) -> WeightList {
    let is_weighed =
        |server: &&ServerState| !server.backup && server.weight > Weight::ZERO && !server.is_absent();
    let counted = backend.servers.iter().filter(is_weighed);
    counted.map(|server| (server.id, server.weight)).collect()
}

/// Exact ratios where capacities are whole numbers, the nearest possible ones where not.
fn by_capacity(servers: &WeightList, settings: &BackendSettings, names: &Names) -> WeightList {
    let capacity = |id| settings.servers.get(&*names.of_server(id)).map_or(1.0, |server| server.capacity);
    let capacities: Vec<f64> = servers.iter().map(|&(id, _)| capacity(id)).collect();
    let largest = capacities.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let most = f64::from(Weight::MAX.value());
    let whole = largest <= most && capacities.iter().all(|capacity| capacity.fract() == 0.0);
    let factor = if whole { (most / largest).floor() } else { most / largest };
    let weight = |capacity: f64| Weight::saturating(capacity * factor).max(Weight::ONE);
    servers.iter().zip(capacities).map(|(&(id, _), capacity)| (id, weight(capacity))).collect()
}

/// Whether both lists share out the traffic in the same way. They name the same servers.
fn in_proportion(a: &WeightList, b: &WeightList) -> bool {
    let value = |&(_, weight): &(ServerId, Weight)| u32::from(weight.value());
    let (Some(first_a), Some(first_b)) = (a.first().map(value), b.first().map(value)) else { return true };
    a.iter().map(value).zip(b.iter().map(value)).all(|(a, b)| a * first_b == b * first_a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::testing::{self, Site};

    /// Weights after `reweigh`, for capacities and present weights of s1, s2, ...; `None` if
    /// nothing is to be done.
    #[track_caller]
    fn check(capacities: &[f64], present: &[u16], expected: Option<&[u16]>) {
        let mut site = Site::new(capacities.len());
        site.settings.weights = Weights::ByCapacity;
        for (n, (&capacity, &weight)) in capacities.iter().zip(present).enumerate() {
            let name = format!("s{}", n + 1);
            site.configure(&name, |server| server.capacity = capacity);
            site.server(&name).weight = Weight::saturating(weight.into());
        }
        let plan = reweigh(&site.backend, &site.settings, &site.names);
        let found = plan.map(|plan| match &plan.before[..] {
            [Step::SetWeights(weights)] => {
                weights.iter().map(|(_, weight)| weight.value()).collect::<Vec<_>>()
            }
            other => panic!("one step that sets weights, not {other:?}"),
        });
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn weights_follow_capacities_exactly_if_these_are_whole() {
        check(&[3.0, 2.0, 1.0], &[1, 1, 1], Some(&[255, 170, 85]));
        check(&[1.0, 100.0], &[1, 1], Some(&[2, 200]));
    }

    #[test]
    fn weights_follow_other_capacities_as_near_as_they_can() {
        check(&[1.5, 1.0], &[1, 1], Some(&[256, 171]));
        check(&[0.001, 1000.0], &[1, 1], Some(&[1, 256]));
        check(&[1000.0, 500.0], &[1, 1], Some(&[256, 128]));
    }

    #[test]
    fn weights_in_the_right_proportion_are_left_as_they_are() {
        check(&[1.0, 1.0], &[1, 1], None);
        check(&[3.0, 1.0], &[30, 10], None);
        check(&[3.0, 1.0], &[30, 11], Some(&[255, 85]));
    }

    #[test]
    fn weight_zero_stays_and_does_not_count() {
        check(&[3.0, 3.0, 1.0], &[0, 3, 1], None);
        check(&[9.0, 2.0, 1.0], &[0, 1, 1], Some(&[256, 128]));
    }

    #[test]
    fn weights_are_kept_unless_asked_for_and_possible() {
        let mut site = Site::new(2);
        site.configure("s1", |server| server.capacity = 2.0);
        assert_eq!(reweigh(&site.backend, &site.settings, &site.names), None);
        site.settings.weights = Weights::ByCapacity;
        site.backend.dynamic = Some(false);
        assert_eq!(reweigh(&site.backend, &site.settings, &site.names), None);
        site.backend.dynamic = None;
        assert!(reweigh(&site.backend, &site.settings, &site.names).is_some());
    }

    #[test]
    fn spares_are_weighed_with_the_others() {
        let mut site = Site::new(2);
        site.settings.weights = Weights::ByCapacity;
        site.configure("s2", |server| server.capacity = 2.0);
        testing::declared_disabled(site.server("s2"));
        let weights = full(&site.backend, &site.settings, &site.names);
        assert_eq!(weights.iter().map(|(_, weight)| weight.value()).collect::<Vec<_>>(), [128, 256]);
    }

    /// The factor for a ramp of a server of weight `smallest` among `weights`.
    #[track_caller]
    fn check_factor(weights: &[u16], smallest: u16, expected: u16) {
        let site = Site::new(weights.len());
        let weight = |&weight: &u16| Weight::saturating(weight.into());
        let full =
            site.backend.servers.iter().map(|server| server.id).zip(weights.iter().map(weight)).collect();
        assert_eq!(factor(&full, weight(&smallest)), expected);
    }

    #[test]
    fn weights_are_multiplied_as_far_as_the_ratios_allow() {
        check_factor(&[1, 1], 1, 100);
        check_factor(&[1, 3], 1, 85);
        check_factor(&[50, 60], 50, 2);
        check_factor(&[100, 100], 100, 1);
        check_factor(&[1, 200], 1, 1);
        check_factor(&[], 1, 100);
    }
}
