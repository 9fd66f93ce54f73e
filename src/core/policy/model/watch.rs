//! What has happened to the servers, from one [`Pool`] to the next.
//!
//! A decision is only a wish; what became of it shows here. So a move that was refused is not
//! counted, and one that somebody else made is.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::core::names::ServerId;
use crate::core::policy::pool::{Pool, Stage};

const HOUR: Duration = Duration::from_secs(3600);

/// The servers as they were, and when they changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    stages: BTreeMap<ServerId, (Stage, f64)>,
    /// Other servers serve since then.
    serving_since: Option<Instant>,
    /// A stage or a weight is different since then.
    changed: Option<Instant>,
    /// A server was last taken away.
    taken: Option<Instant>,
    /// Servers added and taken away within the last hour.
    moves: VecDeque<(Instant, u32)>,
}

impl Watch {
    pub(super) fn observe(&mut self, pool: &Pool, now: Instant) {
        while self.moves.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= HOUR) {
            self.moves.pop_front();
        }
        let stages: BTreeMap<ServerId, (Stage, f64)> =
            pool.servers.iter().map(|member| (member.server, (member.stage, member.share))).collect();
        if stages == self.stages {
            return;
        }
        let is_first = self.changed.replace(now).is_none();
        let serving = |stages: &BTreeMap<ServerId, (Stage, f64)>| -> Vec<ServerId> {
            stages.iter().filter(|(_, (stage, _))| *stage == Stage::Serving).map(|(id, _)| *id).collect()
        };
        if is_first || serving(&stages) != serving(&self.stages) {
            self.serving_since = Some(now);
        }
        let mut moves = 0;
        for (id, (stage, _)) in &stages {
            let Some((before, _)) = self.stages.get(id) else { continue };
            let takes = |stage: Stage| matches!(stage, Stage::Starting | Stage::Serving);
            moves += u32::from(takes(*before) != takes(*stage));
            if takes(*before) && !takes(*stage) && *before == Stage::Serving {
                self.taken = Some(now);
            }
        }
        if moves > 0 {
            self.moves.push_back((now, moves));
        }
        self.stages = stages;
    }

    /// For so long the same servers serve.
    pub(super) fn serving_for(&self, now: Instant) -> Duration {
        since(self.serving_since, now)
    }

    /// For so long neither a stage nor a weight is different.
    pub(super) fn unchanged_for(&self, now: Instant) -> Duration {
        since(self.changed, now)
    }

    /// When a server was last taken away.
    pub(super) fn taken(&self) -> Option<Instant> {
        self.taken
    }

    /// How long until fewer than `allowed` moves lie within the last hour; `None`: they do now.
    pub(super) fn spent(&self, allowed: u32, now: Instant) -> Option<Duration> {
        let mut left: u32 = self.moves.iter().map(|(_, moves)| moves).sum();
        let mut until = None;
        for (at, moves) in &self.moves {
            if left < allowed {
                break;
            }
            left -= moves;
            until = Some(HOUR.saturating_sub(now.saturating_duration_since(*at)));
        }
        // With none allowed nothing gets better by waiting.
        if allowed == 0 { Some(HOUR) } else { until }
    }
}

fn since(then: Option<Instant>, now: Instant) -> Duration {
    then.map_or(Duration::ZERO, |then| now.saturating_duration_since(then))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::model::testing::World;

    #[test]
    fn moves_are_what_happened_to_the_servers() {
        let (mut watch, mut pool, start) = (Watch::default(), World::new(3, 6).pool, Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let mut see = |second: u64, n: usize, stage: Stage| {
            pool.servers[n].stage = stage;
            watch.observe(&pool, at(second));
            watch.clone()
        };
        assert_eq!(see(0, 0, Stage::Serving).spent(1, at(0)), None, "how it was found is no move");
        assert_eq!(see(10, 3, Stage::Starting).spent(1, at(10)), Some(HOUR));
        assert_eq!(see(15, 3, Stage::Serving).spent(2, at(15)), None, "one move, not two");
        let parked = see(20, 2, Stage::Parked);
        assert_eq!(
            (parked.spent(2, at(20)), parked.taken()),
            (Some(HOUR - Duration::from_secs(10)), Some(at(20)))
        );
        assert_eq!(parked.serving_for(at(25)), Duration::from_secs(5));
        let gone = see(30, 2, Stage::Spare);
        assert_eq!((gone.spent(3, at(30)), gone.serving_for(at(30))), (None, Duration::from_secs(10)));
        assert_eq!(gone.unchanged_for(at(31)), Duration::from_secs(1));
        assert_eq!(see(3610, 2, Stage::Spare).spent(2, at(3610)), None, "an hour later");
        assert_eq!(see(3610, 2, Stage::Spare).spent(0, at(3610)), Some(HOUR), "none are allowed at all");
    }
}
