//! The figures of one server, or of several together.

use super::counts::Counts;
use super::timeline::Timeline;
use crate::core::log::fast::FastLine;
use crate::core::log::line::LogLine;
use crate::core::log::sample::{Class, Owner, Timers};
use crate::core::settings::Timer;

/// The timers of a line in its order.
pub(super) const TIMERS: [Timer; 5] = [Timer::TR, Timer::Tw, Timer::Tc, Timer::Tr, Timer::Tt];

/// How requests end, in the order of reports; see [`Class`].
pub(super) const CLASSES: [Class; 5] =
    [Class::Success, Class::Server, Class::Saturation, Class::Client, Class::Proxy];

/// All that is counted of a server's requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Account {
    /// In the order of [`TIMERS`]; of requests that are somebody's.
    pub(super) timers: [Counts; 5],
    /// Those requests, by how they ended, in the order of [`CLASSES`].
    ended: [u64; 5],
    /// Requests whose timers tell nothing of a server: HAProxy answered by itself, or the line was cut.
    pub(super) nobodys: u64,
    /// All requests by the first digit of their status, 0 for none.
    pub(super) statuses: [u64; 10],
    /// Latency over time, of requests that are somebody's.
    pub(super) over_time: Timeline,
}

impl Account {
    /// Counts a request that ended normally.
    #[inline(always)]
    pub(super) fn add_fast(&mut self, line: &FastLine<'_>, cell: usize) {
        self.count_status(line.status_class);
        let failed = line.status_class >= 5;
        self.ended[usize::from(failed)] += 1;
        for (counts, ms) in self.timers.iter_mut().zip(line.millis) {
            counts.add(ms);
        }
        self.over_time.add(cell, line.millis[4], failed);
    }

    /// Counts a request that ended normally, and that HAProxy answered by itself.
    pub(super) fn add_fast_of_haproxy(&mut self, line: &FastLine<'_>) {
        self.count_status(line.status_class);
        self.nobodys += 1;
    }

    /// Counts a request, in `cell` of the time axis if its line has a date.
    pub(super) fn add(&mut self, line: &LogLine<'_>, cell: Option<usize>) {
        self.count_status((line.status.unwrap_or(0) / 100) as u8);
        if Owner::of(line) == Owner::Nobody {
            self.nobodys += 1;
            return;
        }
        let class = Class::of(line);
        for (count, its) in self.ended.iter_mut().zip(CLASSES) {
            *count += u64::from(class == its);
        }
        let timers = Timers::of(line);
        for (counts, timer) in self.timers.iter_mut().zip(TIMERS) {
            if let Some(ms) = timers.get(timer) {
                counts.add(ms);
            }
        }
        if let (Some(cell), Some(ms)) = (cell, timers.get(Timer::Tt)) {
            self.over_time.add(cell, ms, class != Class::Success);
        }
    }

    #[inline]
    fn count_status(&mut self, class: u8) {
        // It is a digit.
        if let Some(count) = self.statuses.get_mut(usize::from(class)) {
            *count += 1;
        }
    }

    /// Counts all that `other` has counted, but for what it did over time.
    pub(super) fn add_all(&mut self, other: &Self) {
        for (own, theirs) in self.timers.iter_mut().zip(&other.timers) {
            own.add_all(theirs);
        }
        self.nobodys += other.nobodys;
        let own = self.ended.iter_mut().chain(&mut self.statuses);
        for (own, theirs) in own.zip(other.ended.iter().chain(&other.statuses)) {
            *own += theirs;
        }
    }

    /// How many ended like this.
    pub(super) fn ended(&self, class: Class) -> u64 {
        self.ended.iter().zip(CLASSES).find_map(|(&count, its)| (its == class).then_some(count)).unwrap_or(0)
    }

    /// All of them.
    pub(super) fn requests(&self) -> u64 {
        self.ended.iter().sum::<u64>() + self.nobodys
    }
}
