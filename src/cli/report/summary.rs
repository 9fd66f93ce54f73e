//! A book as figures: by backend, by server, over time; what every form of output prints.

use super::account::{Account, CLASSES, TIMERS};
use super::book::{Book, Others};
use super::counts::Counts;
use super::timeline::{Axis, Cell, change};
use crate::core::log::sample::Class;
use crate::core::settings::Timer;

/// The percentiles of each timer: what they are called, and of how many thousandths.
pub(super) const PERCENTILES: [(&str, u16); 5] =
    [("p50", 500), ("p90", 900), ("p95", 950), ("p99", 990), ("p999", 999)];

/// Names of [`TIMERS`]. The last one is Ta in httplog and Tt in tcplog.
pub(super) const TIMER_NAMES: [&str; 5] = ["TR", "Tw", "Tc", "Tr", "Ta"];

/// Names of [`CLASSES`].
pub(super) const CLASS_NAMES: [&str; 5] = ["success", "server", "saturation", "client", "proxy"];

/// All there is to print.
pub(super) struct Summary {
    /// The first and the last second in which a request began, from 1970; `None` if there was none.
    pub(super) span: Option<(i64, i64)>,
    pub(super) others: Others,
    /// By name.
    pub(super) backends: Vec<BackendFigures>,
    pub(super) axis: Axis,
    /// Of all backends together, a cell for each of the axis.
    pub(super) over_time: Vec<Cell>,
}

/// A backend and its servers.
pub(super) struct BackendFigures {
    pub(super) name: String,
    /// Of all its servers together.
    pub(super) all: Figures,
    /// By name; HAProxy's own, such as `<NOSRV>`, first.
    pub(super) servers: Vec<(String, Figures)>,
}

/// Figures of a server, or of a backend.
pub(super) struct Figures {
    pub(super) requests: u64,
    /// In the order of [`CLASSES`].
    pub(super) ended: [u64; 5],
    /// Requests that HAProxy answered by itself, and those of cut lines: they are in no other figure
    /// than `requests` and `statuses`.
    pub(super) nobodys: u64,
    /// By the first digit of the status, 0 for none.
    pub(super) statuses: [u64; 10],
    /// Requests that began in a second, on average.
    pub(super) rate: f64,
    /// Requests that were under way, on average.
    pub(super) concurrency: f64,
    /// Requests that waited in a queue, on average.
    pub(super) queue: f64,
    /// In the order of [`TIMERS`]; `None` where none happened.
    pub(super) timers: [Option<TimerFigures>; 5],
}

/// Milliseconds of one timer.
pub(super) struct TimerFigures {
    pub(super) count: u64,
    pub(super) mean: f64,
    /// In the order of [`PERCENTILES`].
    pub(super) percentiles: [u32; 5],
    pub(super) max: u32,
}

impl Summary {
    /// Of all backends, or of the one of that name.
    pub(super) fn of(book: &Book, backend: Option<&str>) -> Self {
        let seconds = book.span.map_or(1, |(first, last)| last - first + 1) as f64;
        let mut accounts: Vec<(String, String, &Account)> = book
            .accounts()
            .map(|(names, account)| {
                let names = String::from_utf8_lossy(names);
                let (backend, server) = names.split_once('/').unwrap_or((&names, ""));
                (backend.to_owned(), server.to_owned(), account)
            })
            .filter(|(name, ..)| backend.is_none_or(|backend| backend == name))
            .collect();
        accounts.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        let backends = accounts.chunk_by(|one, other| one.0 == other.0);
        let mut all_time = Account::default();
        for (.., account) in &accounts {
            all_time.over_time.add_all(&account.over_time, &change(book.axis, book.axis));
        }
        let mut over_time = all_time.over_time.cells().to_vec();
        over_time.resize(book.axis.cells(), Cell::default());
        Self {
            span: book.span,
            others: book.others,
            backends: backends.map(|servers| BackendFigures::of(servers, seconds)).collect(),
            axis: book.axis,
            over_time,
        }
    }

    /// Requests in any backend that is shown.
    pub(super) fn requests(&self) -> u64 {
        self.backends.iter().map(|backend| backend.all.requests).sum()
    }
}

impl BackendFigures {
    fn of(servers: &[(String, String, &Account)], seconds: f64) -> Self {
        let mut all = Account::default();
        servers.iter().for_each(|(.., account)| all.add_all(account));
        let figures = |(_, server, account): &(String, String, &Account)| {
            (server.clone(), Figures::of(account, seconds))
        };
        Self {
            name: servers.first().map(|(backend, ..)| backend.clone()).unwrap_or_default(),
            all: Figures::of(&all, seconds),
            servers: servers.iter().map(figures).collect(),
        }
    }
}

impl Figures {
    fn of(account: &Account, seconds: f64) -> Self {
        // What was under way on average is all the time of all requests over the time it took (Little's law).
        let timers = account.timers();
        let at_once = |timer: Timer| {
            let at = TIMERS.iter().position(|&its| its == timer).unwrap_or(0);
            timers[at].sum() as f64 / 1000.0 / seconds
        };
        Self {
            requests: account.requests(),
            ended: CLASSES.map(|class| account.ended(class)),
            nobodys: account.nobodys,
            statuses: account.statuses(),
            rate: account.requests() as f64 / seconds,
            concurrency: at_once(Timer::Tt),
            queue: at_once(Timer::Tw),
            timers: timers.each_ref().map(TimerFigures::of),
        }
    }

    /// Requests whose end is somebody's, and was no success.
    pub(super) fn failed(&self) -> u64 {
        CLASSES
            .into_iter()
            .zip(self.ended)
            .filter(|(class, _)| *class != Class::Success)
            .map(|(_, n)| n)
            .sum()
    }
}

impl TimerFigures {
    fn of(counts: &Counts) -> Option<Self> {
        let max = counts.max()?;
        let count = counts.count();
        Some(Self {
            count,
            mean: counts.sum() as f64 / count as f64,
            percentiles: PERCENTILES.map(|(_, permille)| counts.percentile(permille).unwrap_or(max)),
            max,
        })
    }
}
