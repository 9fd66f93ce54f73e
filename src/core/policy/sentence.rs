//! Decisions and reasons as sentences, for an operator at night: what is, what it is held
//! against, and for how long. Journal, log, status and replay print these.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::decision::{Decision, Load, LoadUnit, Reason};
use crate::core::log::error::LineError;
use crate::core::settings::Statistic;

/// A duration as people say it: `412 ms`, `1.2 s`, `10 s`, `4 min 20 s`, `1 h 5 min`, `3 d 2 h`.
/// What is left away is cut off, never rounded up: 10 s are over when it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (ms, s) = (self.0.as_millis(), self.0.as_secs());
        let mut two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
            0 => write!(f, "{large} {unit}"),
            _ => write!(f, "{large} {unit} {small} {smaller}"),
        };
        match s {
            0 if self.0.is_zero() => f.write_str("0 s"),
            0 if ms == 0 => f.write_str("under 1 ms"),
            0 => write!(f, "{ms} ms"),
            1..10 if ms % 1000 >= 100 => write!(f, "{s}.{} s", ms % 1000 / 100),
            1..60 => write!(f, "{s} s"),
            60..3600 => two(s / 60, "min", s % 60, "s"),
            3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "min"),
            _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
        }
    }
}

impl Display for Statistic {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Percentile(percentile) => percentile.fmt(f),
            Self::Mean => f.write_str("mean"),
            Self::MeanOfLast(n) => write!(f, "mean of the last {n}"),
        }
    }
}

impl Display for Decision {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Hold(reason) => write!(f, "hold: {reason}"),
            Self::ScaleUp { by, reason } => write!(f, "scale up by {by}: {reason}"),
            Self::ScaleDown { by, reason, .. } => write!(f, "scale down by {by}: {reason}"),
            Self::Reweigh { reason, .. } => write!(f, "reweigh: {reason}"),
        }
    }
}

/// A table: one sentence an arm.
impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::TooFewSamples { samples, min_samples } => {
                write!(f, "{} in the window, {min_samples} are needed", Count(*samples, "request"))
            }
            Self::JustStarted { left } => {
                write!(f, "just started, {} to go until the window is whole", Span(*left))
            }
            Self::UnknownBackend => f.write_str("HAProxy has no such backend"),
            Self::DisabledBackend => f.write_str("haproxy.cfg has it `disabled`"),
            Self::NoInventory => f.write_str("HAProxy does not answer: nothing can be moved"),
            Self::NoneInLine { at_most } => write!(
                f,
                "waits until one HAProxy is in line, {} at most: those that answer were restarted, and are told what they had",
                Span(*at_most)
            ),
            Self::ReadOnly => f.write_str(
                "HAProxy's socket lets nothing be changed: it needs `level admin` in haproxy.cfg, or \
                 `haproxy.sockets` another one",
            ),
            Self::Blind { requests } => {
                write!(
                    f,
                    "no log line comes, though HAProxy counts {} since the last",
                    Count(*requests, "request")
                )
            }
            Self::Uncovered { understood, expected, span, only_failures, first } => {
                uncovered(f, *understood, *expected, *span)?;
                why_uncovered(f, *understood, *only_failures, *first)
            }
            Self::TooManyLines { lines, expected, span } => write!(
                f,
                "the log tells of {} in {}, HAProxy counted {expected}: does it hold each line twice, or \
                 another HAProxy's?",
                Count(*lines, "request"),
                Span(*span)
            ),
            Self::InBand { statistic, latency, lower, upper } => {
                let (latency, lower, upper) = (Span(*latency), Span(*lower), Span(*upper));
                write!(f, "{statistic} {latency} is between {lower} and {upper}")
            }
            Self::PendingUp { wish, needed, breaches: 0, .. } => {
                write!(f, "{wish}; {} are needed", Span(*needed))
            }
            Self::PendingUp { wish, needed, breaches, .. } => {
                write!(f, "{wish}; {} or {breaches} evaluations are needed", Span(*needed))
            }
            Self::PendingDown { wish, needed, .. } => write!(f, "{wish}; {} are needed", Span(*needed)),
            Self::Acting => f.write_str("a move is being carried out"),
            Self::CoolingDown { left } => write!(f, "cooling down for {}", Span(*left)),
            Self::AtMax { serving } => {
                write!(f, "too much load, but {serving} servers serve, the most allowed")
            }
            Self::NoSpare => f.write_str("more servers are needed, but none is left to add"),
            Self::NoPlace(why) => write!(f, "{why}"),
            Self::AtMin { serving: 1 } => f.write_str("fast enough with 1 server, the fewest allowed"),
            Self::AtMin { serving } => write!(f, "fast enough with {serving} servers, the fewest allowed"),
            Self::NothingToRemove => {
                f.write_str("fewer servers would do, but none of them may be taken away")
            }
            Self::RestTooFew { left, each, limit, unit } => rest_too_few(f, *left, *each, *limit, *unit),
            Self::ServerFailures { failed, of } => {
                write!(f, "fast enough, but {failed} of {} failed on their servers", Count(*of, "request"))
            }
            Self::Breach { statistic, latency, upper, since } => {
                let (latency, upper, since) = (Span(*latency), Span(*upper), Span(*since));
                write!(f, "{statistic} {latency} has been above {upper} for {since}")
            }
            Self::Relaxed { statistic, latency, lower, since } => {
                let (latency, lower, since) = (Span(*latency), Span(*lower), Span(*since));
                write!(f, "{statistic} {latency} has been below {lower} for {since}")
            }
            Self::Saturation { failed, of, since } => {
                write!(f, "{failed} of {} found no room, for {}", Count(*of, "request"), Span(*since))
            }
            Self::Burst { statistic, latency, upper } => {
                let (latency, upper) = (Span(*latency), Span(*upper));
                write!(f, "burst after a scale-down: {statistic} {latency} is over twice {upper}")
            }
            Self::SaturationBurst { failed, of } => {
                write!(f, "burst after a scale-down: {failed} of {} found no room", Count(*of, "request"))
            }
            Self::BlindQueue { queued, since } => {
                write!(
                    f,
                    "the log does not tell, and HAProxy has had a queue for {}, now {queued} long",
                    Span(*since)
                )
            }
            Self::BelowMin { serving, min } => {
                write!(f, "{} serving, {min} is the fewest allowed", Count(u64::from(*serving), "server"))
            }
            Self::AboveMax { serving, max } => {
                write!(f, "{} serving, {max} is the most allowed", Count(u64::from(*serving), "server"))
            }
            Self::Idle { since } => write!(f, "no request for {}", Span(*since)),
            Self::Down(replacement) => replacement.fmt(f),
            Self::Forgotten { servers } => {
                let servers = Count(u64::from(*servers), "server");
                write!(f, "HAProxy was restarted, and {servers} not as before")
            }
            Self::Scheduled { reason, at } => write!(f, "{reason} ({at})"),
            Self::Ordered(ordered) => ordered.fmt(f),
            Self::Learning { watched } => {
                write!(f, "watched for {}, too little to know what a request costs", Span(*watched))
            }
            Self::Unproven(left) => {
                let left = Span(*left);
                write!(f, "in time so far, and what a server can carry is not known yet: {left} to go")
            }
            Self::Silent { since, streams } => {
                let running = Count(u64::from(*streams), "request");
                write!(f, "no log line for {}, {running} were running: nothing is taken away", Span(*since))
            }
            Self::Outrun { arrivals, answered, serving, needed } => {
                let (arrivals, answered) = (Figure(*arrivals), Figure(*answered));
                let serving = Count(u64::from(*serving), "server");
                write!(
                    f,
                    "{arrivals} req/s come, {serving} cannot answer more than {answered}; it takes {needed}"
                )
            }
            Self::Need { load, waiting, more, lost } => need(f, load, *waiting, *more, *lost),
            Self::Slots { held, each, needed } => {
                let (held, each) = (Figure(*held), Figure(*each));
                write!(f, "{held} connections are held; with {each} allowed on a server that takes {needed}")
            }
            Self::Rising { slope, within, needed } => {
                let (slope, needed) = (Figure(*slope), Count(u64::from(*needed), "server"));
                write!(
                    f,
                    "arrivals rise by {slope} req/s each second; in {} they need {needed}",
                    Span(*within)
                )
            }
            Self::Ample { since, needed, arrivals, busy, trial } => {
                let (arrivals, busy) = (Figure(*arrivals), Figure(*busy));
                write!(f, "for {} at most {needed} were needed ", Span(*since))?;
                write!(f, "(highest {arrivals} req/s = {busy} busy workers)")?;
                match trial.is_zero() {
                    true => Ok(()),
                    false => write!(f, "; no new requests for {} first", Span(*trial)),
                }
            }
            Self::Balanced { load, serving, above, below, after } => {
                balanced(f, load, *serving, *above, *below, *after)
            }
            Self::OnTrial { servers } => {
                let servers = Count(u64::from(*servers), "server");
                write!(f, "{servers} without new requests until it is clear that fewer will do")
            }
            Self::NotLoad { floor, below } => {
                write!(
                    f,
                    "late without being full: requests that found a free worker miss {} in {} of cases; \
                     more servers will not help",
                    Span(*below),
                    Percent(*floor)
                )
            }
            Self::NoEffect { from, to, before, after } => {
                let (before, after) = (Figure(*before), Figure(*after));
                write!(f, "{from} -> {to} servers did not help, {before} req/s were answered before and ")?;
                write!(f, "{after} after: what holds them up is behind the servers")
            }
            Self::MovesSpent { allowed, left } => {
                let moves = Count(u64::from(*allowed), "move");
                write!(f, "fewer servers would do, but {moves} an hour are allowed; {} to go", Span(*left))
            }
            Self::Slow { ratio, share, .. } => {
                let (ratio, share) = (Figure(*ratio), Percent(*share));
                write!(
                    f,
                    "{share} of its weight: it takes {ratio} x as long as its peers with as many requests on it"
                )
            }
            Self::Smaller { share, .. } => {
                write!(
                    f,
                    "{} of its weight: it carries {} of what the best one does",
                    Percent(*share),
                    Part(*share)
                )
            }
            Self::Failing { failed, of, share, .. } => {
                let (of, share) = (Count(*of, "request"), Percent(*share));
                write!(f, "{share} of its weight: it fails {failed} of {of}, its peers do not")
            }
            Self::Overfull { wait, share, .. } => {
                write!(f, "{} of its weight: {} of work queued in it", Percent(*share), Span(*wait))
            }
            Self::Outlier { since, .. } => {
                write!(
                    f,
                    "slower or failing beyond its peers for {}, and others can take its place",
                    Span(*since)
                )
            }
            Self::StandIn { server, stand_in, since } => {
                let since = Span(*since);
                write!(
                    f,
                    "{server} has been slower or failing beyond its peers for {since}: {stand_in} takes its place"
                )
            }
            Self::Recovered { .. } => f.write_str("its full weight: it is as its peers again"),
        }
    }
}

/// A part of something, as people say it: `half`, `a third`, `40 %`, `twice`, `2.5 times`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part(pub f64);

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        const WORDS: [(f64, &str); 7] = [
            (0.25, "a quarter"),
            (1.0 / 3.0, "a third"),
            (0.5, "half"),
            (2.0 / 3.0, "two thirds"),
            (2.0, "twice"),
            (3.0, "three times"),
            (4.0, "four times"),
        ];
        match WORDS.iter().find(|(part, _)| (self.0 / part - 1.0).abs() < 0.1) {
            Some((_, word)) => f.write_str(word),
            None if self.0 < 1.0 => Percent(self.0).fmt(f),
            None => write!(f, "{:.1} times", self.0),
        }
    }
}

fn need(f: &mut Formatter<'_>, load: &Load, waiting: f64, more: f64, lost: f64) -> Result {
    // Few of both would look the same.
    let digits = if load.busy().max(load.carries) < 2.0 { 2 } else { 1 };
    write!(f, "{load} = {:.digits$} busy workers", load.busy())?;
    if waiting >= 0.5 {
        write!(f, ", {} waiting need {more:.1} more", Figure(waiting))?;
    }
    write!(f, "; a server carries {:.digits$} of its {:.1}", load.carries, load.workers)?;
    match lost >= 0.05 {
        true => write!(f, "; slow ones carry {} less", Figure(lost)),
        false => Ok(()),
    }
}

fn balanced(
    f: &mut Formatter<'_>,
    load: &Load,
    serving: u32,
    above: f64,
    below: Option<f64>,
    after: Duration,
) -> Result {
    let workers = f64::from(serving) * load.workers;
    let used = Percent(if workers > 0.0 { load.busy() / workers } else { 0.0 });
    write!(f, "{load} = {} busy workers, {used} of {}", Figure(load.busy()), Figure(workers))?;
    write!(f, "; more above {} req/s", Figure(above))?;
    match below {
        None => Ok(()),
        Some(below) if after.is_zero() => write!(f, ", fewer below {}", Figure(below)),
        Some(below) => write!(f, ", fewer after {} below {}", Span(after), Figure(below)),
    }
}

/// Such as `742 req/s x 80 ms`.
impl Display for Load {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let service = Duration::try_from_secs_f64(self.service).unwrap_or_default();
        write!(f, "{} req/s x {}", Figure(self.arrivals), Span(service))
    }
}

fn rest_too_few(f: &mut Formatter<'_>, left: u32, each: f64, limit: f64, unit: LoadUnit) -> Result {
    let (left, each, limit) = (Count(u64::from(left), "server"), Figure(each), Figure(limit));
    match unit {
        LoadUnit::RequestsPerSecond => {
            write!(f, "would leave {left} with {each} requests/s each; they were too slow at {limit}")
        }
        LoadUnit::Connections => {
            write!(f, "would leave {left} with {each} connections each, of the {limit} that maxconn allows")
        }
    }
}

/// How much is missing. Cut off, not rounded: it is below the limit when it says so.
fn uncovered(f: &mut Formatter<'_>, understood: u64, expected: u64, span: Duration) -> Result {
    let (span, percent) = (Span(span), understood * 100 / expected.max(1));
    match understood {
        0 => write!(f, "none of HAProxy's {expected} requests of the last {span} was understood in the log"),
        _ => write!(
            f,
            "only {percent} % of HAProxy's {expected} requests of the last {span} were understood in the log"
        ),
    }
}

/// Why it is missing, as far as that is known.
fn why_uncovered(
    f: &mut Formatter<'_>,
    understood: u64,
    only_failures: bool,
    first: Option<LineError>,
) -> Result {
    match first {
        Some(first) => write!(f, "; the first that was not: {first}"),
        None if only_failures => f.write_str(", and those failed: `option dontlog-normal`?"),
        None if understood == 0 => f.write_str("; are they logged elsewhere, or not at all?"),
        None => f.write_str("; the others are not in it: sampled, silent, or lost on the way?"),
    }
}

/// `no request`, `1 request`, `2 requests`.
struct Count(u64, &'static str);

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            0 => write!(f, "no {}", self.1),
            1 => write!(f, "1 {}", self.1),
            n => write!(f, "{n} {}s", self.1),
        }
    }
}

/// Whole, or with one digit after the point below 10.
struct Figure(f64);

impl Display for Figure {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.0 < 10.0 { write!(f, "{:.1}", self.0) } else { write!(f, "{:.0}", self.0) }
    }
}

/// A share as whole percent; below one, as that.
struct Percent(f64);

impl Display for Percent {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 * 100.0 {
            percent if percent > 0.0 && percent < 1.0 => f.write_str("under 1 %"),
            percent => write!(f, "{percent:.0} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::Names;

    #[test]
    fn durations_are_said_as_people_say_them() {
        #[track_caller]
        fn check(ms: u64, expected: &str) {
            assert_eq!(Span(Duration::from_millis(ms)).to_string(), expected);
        }
        check(0, "0 s");
        check(1, "1 ms");
        check(412, "412 ms");
        check(999, "999 ms");
        check(1_000, "1 s");
        check(1_050, "1 s");
        check(1_290, "1.2 s");
        check(9_999, "9.9 s");
        check(10_900, "10 s");
        check(60_000, "1 min");
        check(260_000, "4 min 20 s");
        check(3_600_000, "1 h");
        check(3_900_000, "1 h 5 min");
        check(86_400_000, "1 d");
        check(266_400_000, "3 d 2 h");
        assert_eq!(Span(Duration::from_micros(7)).to_string(), "under 1 ms");
    }

    #[test]
    fn the_models_reasons_are_sentences_with_figures() {
        #[track_caller]
        fn check(reason: Reason, expected: &str) {
            assert_eq!(reason.to_string(), expected);
        }
        let names = Names::default();
        let web = names.backend("web").expect("the table is empty");
        let server = names.server(web, "s3").expect("the table is empty");
        let load = Load { arrivals: 412.0, service: 0.081, workers: 8.0, carries: 6.4 };
        let ms = Duration::from_millis;
        check(
            Reason::Balanced { load, serving: 6, above: 475.0, below: Some(365.0), after: ms(108_000) },
            "412 req/s x 81 ms = 33 busy workers, 70 % of 48; more above 475 req/s, fewer after 1 min 48 s below 365",
        );
        check(
            Reason::Balanced { load, serving: 6, above: 475.0, below: Some(365.0), after: ms(0) },
            "412 req/s x 81 ms = 33 busy workers, 70 % of 48; more above 475 req/s, fewer below 365",
        );
        check(
            Reason::Balanced { load, serving: 1, above: 79.0, below: None, after: ms(0) },
            "412 req/s x 81 ms = 33 busy workers, 417 % of 8.0; more above 79 req/s",
        );
        check(
            Reason::Ample { since: ms(260_000), needed: 7, arrivals: 498.0, busy: 40.0, trial: ms(0) },
            "for 4 min 20 s at most 7 were needed (highest 498 req/s = 40 busy workers)",
        );
        check(
            Reason::Slots { held: 400.0, each: 50.0, needed: 10 },
            "400 connections are held; with 50 allowed on a server that takes 10",
        );
        check(
            Reason::Overfull { server, wait: ms(3120), share: 0.05 },
            "5 % of its weight: 3.1 s of work queued in it",
        );
        check(
            Reason::Failing { server, failed: 41, of: 200, share: 0.1 },
            "10 % of its weight: it fails 41 of 200 requests, its peers do not",
        );
        check(
            Reason::Smaller { server, share: 0.5 },
            "50 % of its weight: it carries half of what the best one does",
        );
        check(Reason::Recovered { server }, "its full weight: it is as its peers again");
        check(
            Reason::NotLoad { floor: 0.004, below: ms(250) },
            "late without being full: requests that found a free worker miss 250 ms in under 1 % of cases; \
             more servers will not help",
        );
        check(
            Reason::MovesSpent { allowed: 200, left: ms(600_000) },
            "fewer servers would do, but 200 moves an hour are allowed; 10 min to go",
        );
        assert_eq!(Reason::Recovered { server }.server(), Some(server));
    }
}
