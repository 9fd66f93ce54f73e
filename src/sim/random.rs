//! Random numbers: seeded, and one stream for each purpose, so that more draws here do not change what is
//! drawn there.

use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

/// When requests come.
pub(super) const ARRIVALS: u128 = 1;
/// When bursts come.
pub(super) const BURSTS: u128 = 2;
/// What requests are like.
pub(super) const REQUESTS: u128 = 3;
/// How long servers take to start, and their warm-up requests.
pub(super) const SERVERS: u128 = 4;

/// The generator of `seed` for one purpose.
pub(super) fn stream(seed: u64, purpose: u128) -> Pcg64 {
    Pcg64::new(u128::from(seed), purpose)
}

/// Lognormal, with this mean and coefficient of variation.
pub(super) fn lognormal(random: &mut Pcg64, mean: f64, cv: f64) -> f64 {
    let normal: f64 = StandardNormal.sample(random);
    let variance = (1.0 + cv * cv).ln();
    mean * (variance.sqrt() * normal - variance / 2.0).exp()
}
