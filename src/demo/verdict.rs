//! What it all came to: figures with and without the agent, and which promises were kept.

use std::time::{Duration, Instant};

use super::haproxy::ServerSeen;
use super::load::Felt;
use super::scenario::SERVERS;

/// Adds up how long servers had to run.
#[derive(Debug)]
pub struct Meter {
    last: Instant,
    total: Duration,
    most: usize,
}

impl Meter {
    /// Nothing has run before `now`.
    pub fn new(now: Instant) -> Self {
        Self { last: now, total: Duration::ZERO, most: 0 }
    }

    /// `servers` are as they are since the last call.
    pub fn add(&mut self, now: Instant, servers: &[ServerSeen]) {
        let needed = servers.iter().filter(|server| server.is_needed()).count();
        self.total += now.saturating_duration_since(self.last) * needed as u32;
        self.most = self.most.max(needed);
        self.last = now;
    }

    /// The time of all servers together.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// So many at once at most.
    pub fn most(&self) -> usize {
        self.most
    }
}

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// What clients felt with the agent.
    pub with: Felt,
    /// What clients felt with one server and no agent.
    pub without: Felt,
    /// How long it took.
    pub lasted: Duration,
    /// What the agent's servers ran, all together.
    pub ran: Duration,
    /// The most of them at once.
    pub most: usize,
    /// Requests the agent sent to servers before their first users.
    pub warm_ups: u64,
    /// The agent stopped when it was asked to, with exit code 0.
    pub stopped_well: bool,
}

/// Something the demo is there to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Whether it came true.
    pub is_kept: bool,
    /// What it is, with its figures.
    pub text: String,
}

impl Verdict {
    /// A row for each figure; the first row is the heading.
    pub fn table(&self) -> Vec<[String; 4]> {
        let seconds = |ran: Duration| format!("{:.0} s", ran.as_secs_f64());
        let felt = |what: &str, of: &dyn Fn(&Felt) -> String| {
            [what.to_owned(), of(&self.with), of(&self.without), "-".to_owned()]
        };
        vec![
            [
                String::new(),
                "with the agent".to_owned(),
                "one server".to_owned(),
                format!("{SERVERS} servers always on"),
            ],
            felt("requests", &|felt| felt.requests.to_string()),
            felt("over target", &|felt| format!("{} ({})", felt.over, percent(felt.over, felt.requests))),
            felt("failed", &|felt| felt.failed.to_string()),
            felt("p95", &|felt| format!("{} ms", felt.p95.as_millis())),
            felt("longest", &|felt| format!("{} ms", felt.longest.as_millis())),
            ["server-seconds".to_owned(), seconds(self.ran), seconds(self.lasted), seconds(self.always_on())],
        ]
    }

    /// All that was promised.
    pub fn promises(&self) -> Vec<Promise> {
        let Self { with, without, warm_ups, most, .. } = self;
        let share = self.ran.as_secs_f64() / self.always_on().as_secs_f64().max(f64::MIN_POSITIVE) * 100.0;
        let promise = |is_kept: bool, text: String| Promise { is_kept, text };
        vec![
            promise(
                with.over < without.over,
                format!(
                    "fewer requests over target than without the agent: {} of {}, not {} of {}",
                    with.over, with.requests, without.over, without.requests
                ),
            ),
            promise(
                self.ran < self.always_on(),
                format!(
                    "less server time than {SERVERS} always on: {share:.0} % of it, never more than {most} at once"
                ),
            ),
            promise(
                with.failed == 0 && with.requests > 0,
                format!(
                    "no request failed: {} of {}; {warm_ups} warm-up requests went ahead of users",
                    with.failed, with.requests
                ),
            ),
            promise(self.stopped_well, "the agent stopped when it was asked to".to_owned()),
        ]
    }

    /// Whether all promises were kept.
    pub fn is_good(&self) -> bool {
        self.promises().iter().all(|promise| promise.is_kept)
    }

    fn always_on(&self) -> Duration {
        self.lasted * SERVERS as u32
    }
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Verdict = Verdict {
        with: Felt {
            requests: 1000,
            over: 30,
            failed: 0,
            p50: Duration::ZERO,
            p95: Duration::ZERO,
            longest: Duration::ZERO,
        },
        without: Felt {
            requests: 1000,
            over: 600,
            failed: 90,
            p50: Duration::ZERO,
            p95: Duration::ZERO,
            longest: Duration::ZERO,
        },
        lasted: Duration::from_secs(50),
        ran: Duration::from_secs(110),
        most: 3,
        warm_ups: 60,
        stopped_well: true,
    };

    #[track_caller]
    fn check(verdict: &Verdict, broken: &[&str]) {
        let promises = verdict.promises();
        let found: Vec<&str> =
            promises.iter().filter(|promise| !promise.is_kept).map(|promise| &*promise.text).collect();
        let is_as_wanted = found.len() == broken.len()
            && found.iter().zip(broken).all(|(text, start)| text.starts_with(start));
        assert!(
            is_as_wanted && verdict.is_good() == broken.is_empty(),
            "broken: {found:?}, wanted: {broken:?}"
        );
    }

    #[test]
    fn each_promise_can_be_broken() {
        check(&GOOD, &[]);
        check(&Verdict { with: Felt { over: 600, ..GOOD.with }, ..GOOD }, &["fewer requests over target"]);
        check(&Verdict { ran: Duration::from_secs(200), ..GOOD }, &["less server time than"]);
        check(&Verdict { with: Felt { failed: 1, ..GOOD.with }, ..GOOD }, &["no request failed"]);
        check(&Verdict { stopped_well: false, ..GOOD }, &["the agent stopped"]);
        check(&Verdict { with: Felt::default(), ..GOOD }, &["no request failed"]);
    }

    #[test]
    fn a_server_counts_from_drain_to_maint() {
        let start = Instant::now();
        let server = |status: &str| ServerSeen { name: String::new(), status: status.to_owned(), weight: 1 };
        let mut meter = Meter::new(start);
        let mut now = start;
        for statuses in [["UP", "MAINT"], ["UP", "DRAIN"], ["UP", "UP"], ["DRAIN", "UP"], ["MAINT", "UP"]] {
            now += Duration::from_secs(1);
            meter.add(now, &statuses.map(server));
        }
        assert_eq!((meter.total(), meter.most()), (Duration::from_secs(8), 2));
    }

    #[test]
    fn the_table_has_the_figures_of_both() {
        let table = GOOD.table();
        let row = |what: &str| table.iter().find(|row| row[0] == what).map(|row| row[1..].to_vec());
        assert_eq!(row("over target").unwrap(), ["30 (3.0 %)", "600 (60.0 %)", "-"]);
        assert_eq!(row("server-seconds").unwrap(), ["110 s", "50 s", "200 s"]);
    }
}
