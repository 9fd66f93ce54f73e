//! Which server HAProxy sends a request to.
//!
//! `roundrobin` is HAProxy's smooth weighted round robin: each server gets its share, and no two of its turns
//! stand closer than need be. `leastconn` takes the fewest connections for the weight, the one that
//! changed longest ago among equals (configuration manual 4.2, `balance`).

use crate::core::plan::inventory::{AdminFlags, AdminState};
use crate::core::units::Weight;
use crate::sim::scenario::{Balance, Haproxy};

/// A server as HAProxy has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) admin: AdminFlags,
    pub(super) weight: Weight,
    /// Health checks do not object.
    pub(super) up: bool,
    /// It has been READY since it was last in MAINT.
    pub(super) has_served: bool,
    /// Connections.
    pub(super) served: u32,
    /// How much it is due in round robin.
    credit: i64,
    /// When `served` last changed, as a running number.
    changed: u64,
}

impl Line {
    pub(super) fn new(admin: AdminFlags) -> Self {
        let is_ready = admin.state() == AdminState::Ready;
        Self {
            admin,
            weight: Weight::ONE,
            up: is_ready,
            has_served: is_ready,
            served: 0,
            credit: 0,
            changed: 0,
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        self.admin.state() == AdminState::Ready && self.up && self.weight > Weight::ZERO
    }

    pub(super) fn has_slot(&self, haproxy: &Haproxy) -> bool {
        haproxy.maxconn.is_none_or(|maxconn| self.served < maxconn)
    }
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    Server(usize),
    /// All that could take it are at their `maxconn`.
    Full,
    /// No server is up.
    None,
}

/// The server for the next request.
pub(super) fn pick(lines: &mut [Line], haproxy: &Haproxy) -> Pick {
    let free = |line: &Line| line.is_usable() && line.has_slot(haproxy);
    let picked = match haproxy.balance {
        Balance::RoundRobin => by_turns(lines, free),
        Balance::LeastConn => by_load(lines, free),
    };
    match picked {
        Some(server) => Pick::Server(server),
        None if lines.iter().any(Line::is_usable) => Pick::Full,
        None => Pick::None,
    }
}

fn by_turns(lines: &mut [Line], free: impl Fn(&Line) -> bool) -> Option<usize> {
    let (mut total, mut best) = (0, None);
    for (place, line) in lines.iter_mut().enumerate().filter(|(_, line)| free(line)) {
        let weight = i64::from(line.weight.value());
        total += weight;
        line.credit += weight;
        if best.is_none_or(|(_, credit)| line.credit > credit) {
            best = Some((place, line.credit));
        }
    }
    let (place, _) = best?;
    lines[place].credit -= total;
    Some(place)
}

fn by_load(lines: &[Line], free: impl Fn(&Line) -> bool) -> Option<usize> {
    let load = |line: &Line| {
        if line.served == 0 { 0.0 } else { f64::from(line.served + 1) / f64::from(line.weight.value()) }
    };
    let candidates = lines.iter().enumerate().filter(|(_, line)| free(line));
    let least =
        candidates.min_by(|(_, a), (_, b)| load(a).total_cmp(&load(b)).then(a.changed.cmp(&b.changed)));
    least.map(|(place, _)| place)
}

/// `line` begins anew: it is owed nothing for the time it was away.
pub(super) fn join(line: &mut Line) {
    line.credit = 0;
}

/// `line` has a connection more (`true`) or fewer; `clock` only grows.
pub(super) fn note(line: &mut Line, is_more: bool, clock: u64) {
    line.served = if is_more { line.served + 1 } else { line.served.saturating_sub(1) };
    line.changed = clock;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scenario::{Scenario, Shape};

    fn haproxy(balance: Balance, maxconn: Option<u32>) -> Haproxy {
        let standard = Scenario::standard("", "", 1.0, Shape::Constant(1.0)).haproxy;
        Haproxy { balance, maxconn, ..standard }
    }

    fn lines(weights: &[u16]) -> Vec<Line> {
        let line =
            |&weight: &u16| Line { weight: Weight::saturating(weight.into()), ..Line::new(AdminFlags(0)) };
        weights.iter().map(line).collect()
    }

    /// The servers of `count` requests that all stay.
    fn picks(lines: &mut [Line], haproxy: &Haproxy, count: u64) -> String {
        let mut picks = String::new();
        for clock in 0..count {
            match pick(lines, haproxy) {
                Pick::Server(server) => {
                    note(&mut lines[server], true, clock);
                    picks += &server.to_string();
                }
                Pick::Full => picks.push('f'),
                Pick::None => picks.push('-'),
            }
        }
        picks
    }

    #[test]
    fn turns_follow_weights_and_are_spread_out() {
        let rr = haproxy(Balance::RoundRobin, None);
        assert_eq!(picks(&mut lines(&[1, 1, 1]), &rr, 6), "012012");
        assert_eq!(picks(&mut lines(&[5, 1, 1]), &rr, 7), "0010200");
        assert_eq!(picks(&mut lines(&[1, 0]), &rr, 3), "000");
    }

    #[test]
    fn the_least_loaded_is_taken_by_its_weight() {
        let lc = haproxy(Balance::LeastConn, None);
        assert_eq!(picks(&mut lines(&[1, 1, 1]), &lc, 6), "012012");
        let mut uneven = lines(&[1, 1]);
        uneven[0].served = 3;
        assert_eq!(picks(&mut uneven, &lc, 3), "111");
        assert_eq!(picks(&mut lines(&[1, 2]), &lc, 6).matches('1').count(), 4);
    }

    #[test]
    fn full_servers_are_passed_over_and_none_is_told_from_full() {
        for balance in [Balance::RoundRobin, Balance::LeastConn] {
            assert_eq!(picks(&mut lines(&[1, 1]), &haproxy(balance, Some(2)), 5), "0101f");
            let mut away = lines(&[1, 1]);
            away[0].up = false;
            away[1].admin = AdminFlags(0).with(AdminState::Drain);
            assert_eq!(picks(&mut away, &haproxy(balance, None), 1), "-");
        }
    }
}
