//! Autoscalers to compare with, each as its source or documentation has it.
//!
//! In: what an [`Autoscaler`] may see. Out: orders. None of them knows the core, and the core knows
//! none of them.

use super::Autoscaler;
use super::scenario::Scenario;
use clairvoyant::Clairvoyant;
use fixed::Fixed;
use hpa::Hpa;
use kpa::Kpa;
use lxc::Lxc;
use script_2011::{Reading, Script2011};

mod clairvoyant;
mod fixed;
mod hpa;
mod kpa;
mod lxc;
mod pool;
mod recent;
mod recorded;
mod script_2011;
#[cfg(test)]
mod testing;

pub use recorded::Recorded;

/// Somebody to compare with, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// Every server, always.
    AllOn,
    /// This many servers, always.
    Fixed(usize),
    /// The script of 2011, by its comments.
    Script2011,
    /// The same by its code, with another threshold.
    Script2011Timer,
    /// HAProxyScaleLXC.
    Lxc,
    /// Kubernetes' HorizontalPodAutoscaler on the mean latency.
    Hpa,
    /// Knative's autoscaler on concurrency.
    Kpa,
    /// The same, with a scale-down delay.
    KpaDelay,
    /// Knows the next 10 s.
    Clairvoyant,
}

/// How long a service with a scale-down delay keeps what it has; a usual value for it.
const KPA_DELAY_S: f64 = 120.0;

impl Baseline {
    /// Those that need no number, in the order of the table.
    pub const NAMED: [Self; 8] = [
        Self::AllOn,
        Self::Script2011,
        Self::Script2011Timer,
        Self::Lxc,
        Self::Hpa,
        Self::Kpa,
        Self::KpaDelay,
        Self::Clairvoyant,
    ];

    /// As it is called on the command line.
    pub fn name(self) -> String {
        match self {
            Self::AllOn => "all-on".to_owned(),
            Self::Fixed(servers) => format!("fixed-{servers}"),
            Self::Script2011 => "script-2011".to_owned(),
            Self::Script2011Timer => "script-2011-timer".to_owned(),
            Self::Lxc => "lxc".to_owned(),
            Self::Hpa => "hpa".to_owned(),
            Self::Kpa => "kpa".to_owned(),
            Self::KpaDelay => "kpa-delay".to_owned(),
            Self::Clairvoyant => "clairvoyant".to_owned(),
        }
    }

    /// What it does, in a line.
    pub fn about(self) -> String {
        let about = match self {
            Self::AllOn => "every server, always",
            Self::Fixed(servers) => return format!("{servers} servers, always"),
            Self::Script2011 => {
                "log-tailing script of 2011: mean of the last 15 requests; fewer after 5 min without any"
            }
            Self::Script2011Timer => "the same by its code: one server fewer 5 min after each move",
            Self::Lxc => "HAProxyScaleLXC: counts slow and fast requests by their whole time",
            Self::Hpa => "Kubernetes HPA on mean latency, target a quarter of the promise",
            Self::Kpa => "Knative: requests at once, 60 s and 6 s; told the number of workers",
            Self::KpaDelay => "the same with a scale-down delay of 2 min",
            Self::Clairvoyant => "knows the next 10 s: the fewest servers that could do",
        };
        about.to_owned()
    }

    /// The one of this name, `fixed-4` among them.
    pub fn named(name: &str) -> Option<Self> {
        let fixed =
            || name.strip_prefix("fixed-")?.parse().ok().filter(|&servers| servers > 0).map(Self::Fixed);
        Self::NAMED.into_iter().find(|baseline| baseline.name() == name).or_else(fixed)
    }

    /// One that is about to begin with `scenario`.
    pub fn autoscaler(self, scenario: &Scenario) -> Box<dyn Autoscaler + Send> {
        let target_ms = scenario.target_ms;
        let name = self.name();
        match self {
            Self::AllOn => Box::new(Fixed::new(name, scenario.servers)),
            Self::Fixed(servers) => Box::new(Fixed::new(name, servers)),
            Self::Script2011 => Box::new(Script2011::new(name, target_ms, Reading::ByComments)),
            Self::Script2011Timer => Box::new(Script2011::new(name, target_ms, Reading::ByCode)),
            Self::Lxc => Box::new(Lxc::new(name)),
            Self::Hpa => Box::new(Hpa::new(name, target_ms)),
            Self::Kpa => Box::new(Kpa::new(name, 0.0)),
            Self::KpaDelay => Box::new(Kpa::new(name, KPA_DELAY_S)),
            Self::Clairvoyant => Box::new(Clairvoyant::new(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name() {
        for baseline in Baseline::NAMED.into_iter().chain([Baseline::Fixed(4)]) {
            assert_eq!(Baseline::named(&baseline.name()), Some(baseline));
        }
        for name in ["", "fixed", "fixed-", "fixed-0", "fixed--1", "KPA", "model"] {
            assert_eq!(Baseline::named(name), None, "{name}");
        }
    }
}
