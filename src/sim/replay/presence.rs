//! Which servers were active, by the requests they had.
//!
//! A log does not say when a server was READY. One that was passed over while the others together had many requests
//! was not; one that was quiet while all were quiet was there all the time.

use super::history::Past;

/// A server that was passed over for so many requests of the backend for each server there is was not there: in
/// turn, it would have had one of each `servers`.
const PASSED_OVER: usize = 30;
/// Shorter than this it was only unlucky, seconds.
const LEAST_GAP_S: f64 = 5.0;

/// A server was active for this long, from its first request to its last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Presence {
    /// Its place.
    pub server: usize,
    /// Seconds from the start.
    pub from_s: f64,
    /// Seconds from the start; not before `from_s`.
    pub until_s: f64,
}

/// Where a server was last seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    from_s: f64,
    last_s: f64,
    /// How many requests the backend had had.
    count: usize,
}

/// When each of `servers` was active from 0 to `length_s`, in order of time; `at_s` is when a request came.
pub fn presences(
    requests: &[Past],
    servers: usize,
    length_s: f64,
    at_s: impl Fn(&Past) -> f64,
) -> Vec<Presence> {
    let least = PASSED_OVER * servers.max(1);
    let was_off = |since: &Seen, now_s: f64, count: usize| {
        count - since.count > least && now_s - since.last_s > LEAST_GAP_S
    };
    let mut found = Vec::new();
    let mut seen: Vec<Option<Seen>> = vec![None; servers];
    let mut count = 0;
    for past in requests {
        let Some(server) = past.server.map(usize::from) else { continue };
        let now_s = at_s(past);
        count += 1;
        let slot = &mut seen[server];
        let before = slot.unwrap_or(Seen { from_s: 0.0, last_s: 0.0, count: 0 });
        let mut from_s = before.from_s;
        if was_off(&before, now_s, count) {
            if slot.is_some() {
                found.push(Presence { server, from_s, until_s: before.last_s });
            }
            from_s = now_s;
        }
        *slot = Some(Seen { from_s, last_s: now_s, count });
    }
    for (server, last) in seen.iter().enumerate() {
        if let Some(last) = last {
            let until_s = if was_off(last, length_s, count) { last.last_s } else { length_s };
            found.push(Presence { server, from_s: last.from_s, until_s });
        }
    }
    found.sort_by(|a, b| a.from_s.total_cmp(&b.from_s).then(a.server.cmp(&b.server)));
    found
}

/// How many were active: from each second on so many, in order, beginning with 0; never none.
pub fn counts(presences: &[Presence], length_s: f64) -> Vec<(f64, usize)> {
    let begins = presences.iter().map(|presence| (presence.from_s, 1));
    let ends = presences.iter().filter(|presence| presence.until_s < length_s);
    let mut changes: Vec<(f64, i64)> = begins.chain(ends.map(|presence| (presence.until_s, -1))).collect();
    // Where one ends as another begins there were never fewer.
    changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut counts: Vec<(f64, usize)> = vec![(0.0, 1)];
    let mut active = 0;
    for (at_s, change) in changes {
        active += change;
        let now = usize::try_from(active).unwrap_or(0).max(1);
        match counts.last_mut() {
            Some(last) if last.0 == at_s => last.1 = now,
            _ => counts.push((at_s, now)),
        }
    }
    counts.dedup_by_key(|(_, count)| *count);
    counts
}
