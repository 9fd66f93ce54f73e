//! The figures of one server, or of several together.

use super::counts::Counts;
use super::timeline::Timeline;
use crate::core::log::fast::{FastLine, Waits};
use crate::core::log::line::LogLine;
use crate::core::log::sample::{Class, Owner, Timers};
use crate::core::settings::Timer;

/// The timers of a line in its order.
pub(super) const TIMERS: [Timer; 5] = [Timer::TR, Timer::Tw, Timer::Tc, Timer::Tr, Timer::Tt];

/// How requests end, in the order of reports; see [`Class`].
pub(super) const CLASSES: [Class; 5] =
    [Class::Success, Class::Server, Class::Saturation, Class::Client, Class::Proxy];

/// All that is counted of a server's requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// In the order of [`TIMERS`]; of requests that are somebody's, those in `digits` left out.
    timers: [Counts; 5],
    /// TR, Tw and Tc where each is a digit, as one number of three.
    digits: Counts,
    /// Those requests that were read the long way, by how they ended, in the order of [`CLASSES`].
    ended: [u64; 5],
    /// Those that were read the short way, by the first digit of their status, which tells how they ended.
    ended_well: [u64; 10],
    /// Requests whose timers tell nothing of a server: HAProxy answered by itself, or the line was cut.
    pub(super) nobodys: u64,
    /// By the first digit of their status, 0 for none: all requests but those in `ended_well`.
    other_statuses: [u64; 10],
    /// Latency over time, of requests that are somebody's.
    pub(super) over_time: Timeline,
    /// The server is one of HAProxy's own, such as `<STATS>`: what ends normally there is nobody's.
    is_haproxys: bool,
}

impl Account {
    /// Of a server, called `backend/server`.
    pub(super) fn of(names: &[u8]) -> Self {
        let server = names.split(|&byte| byte == b'/').nth(1);
        Self { is_haproxys: server.is_some_and(|name| name.starts_with(b"<")), ..Self::default() }
    }

    /// Counts a request that ended normally.
    #[inline(always)]
    pub(super) fn add_fast(&mut self, line: &FastLine<'_>, cell: usize) {
        if self.is_haproxys {
            count_status(&mut self.other_statuses, line.status_class);
            self.nobodys += 1;
            return;
        }
        count_status(&mut self.ended_well, line.status_class);
        match line.waits {
            Waits::Digits(number) => self.digits.add(number.into()),
            Waits::Longer(waits) => {
                self.timers.iter_mut().zip(waits).for_each(|(counts, ms)| counts.add(ms));
            }
        }
        let [.., tr, ta] = &mut self.timers;
        tr.add(line.tr_ms);
        ta.add(line.ta_ms);
        self.over_time.add(cell, line.ta_ms, line.status_class >= SERVER_ERROR);
    }

    /// Counts a request, in `cell` of the time axis if its line has a date.
    pub(super) fn add(&mut self, line: &LogLine<'_>, cell: Option<usize>) {
        count_status(&mut self.other_statuses, (line.status.unwrap_or(0) / 100) as u8);
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

    /// Counts all that `other` has counted, but for what it did over time.
    pub(super) fn add_all(&mut self, other: &Self) {
        for (own, theirs) in self.timers.iter_mut().zip(&other.timers) {
            own.add_all(theirs);
        }
        self.digits.add_all(&other.digits);
        self.nobodys += other.nobodys;
        let own = self.ended.iter_mut().chain(&mut self.ended_well).chain(&mut self.other_statuses);
        for (own, theirs) in own.zip(other.ended.iter().chain(&other.ended_well).chain(&other.other_statuses))
        {
            *own += theirs;
        }
    }

    /// The timers in the order of [`TIMERS`], of requests that are somebody's.
    pub(super) fn timers(&self) -> [Counts; 5] {
        let mut timers = self.timers.clone();
        for (number, count) in self.digits.exact() {
            for (counts, ms) in timers.iter_mut().zip([number / 100, number / 10 % 10, number % 10]) {
                counts.add_many(ms, count);
            }
        }
        timers
    }

    /// How many ended like this.
    pub(super) fn ended(&self, class: Class) -> u64 {
        let (well, badly) = self.ended_well.split_at(usize::from(SERVER_ERROR));
        let short = match class {
            Class::Success => well,
            Class::Server => badly,
            Class::Saturation | Class::Client | Class::Proxy => &[],
        };
        let long = self.ended.iter().zip(CLASSES).filter(|&(_, its)| its == class).map(|(count, _)| count);
        short.iter().chain(long).sum()
    }

    /// All requests by the first digit of their status, 0 for none.
    pub(super) fn statuses(&self) -> [u64; 10] {
        std::array::from_fn(|digit| self.ended_well[digit] + self.other_statuses[digit])
    }

    /// All of them.
    pub(super) fn requests(&self) -> u64 {
        self.statuses().iter().sum()
    }
}

/// From this first digit of a status on the server has failed.
const SERVER_ERROR: u8 = 5;

#[inline(always)]
fn count_status(statuses: &mut [u64; 10], class: u8) {
    // It is a digit.
    if let Some(count) = statuses.get_mut(usize::from(class)) {
        *count += 1;
    }
}
