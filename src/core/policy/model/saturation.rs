//! Servers that are at their limit, whatever their curve says.
//!
//! Two signs: more comes than is answered while the streams grow, and HAProxy has to queue in
//! front of servers with a `maxconn`. Both give what a server can do by what it just does.

use std::time::{Duration, Instant};

use crate::core::estimate::load::{LoadFigures, Service};

/// The same servers for so long: those that have just come have not shown what they can do.
const SAME_SERVERS: Duration = Duration::from_secs(4);
/// Where the knee says that the servers can do more, it takes longer to believe that they cannot.
const AGAINST_THE_KNEE: Duration = Duration::from_secs(8);
/// Against it is: less than this share of the workers is busy.
const BUSY_AT_LEAST: f64 = 0.7;
/// Fewer requests answered a second are no evidence of a limit.
const LEAST_ANSWERED: f64 = 1.0;

/// More comes than is answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saturation {
    since: Option<Instant>,
}

impl Saturation {
    /// Requests a second that one of `serving` servers answers at its limit; `None`: none is seen.
    pub(super) fn observe(
        &mut self,
        load: &LoadFigures,
        serving: u32,
        same_for: Duration,
        now: Instant,
    ) -> Option<f64> {
        if serving == 0 || same_for < SAME_SERVERS || !is_outrun(load) {
            self.since = None;
            return None;
        }
        let for_so_long = now.saturating_duration_since(*self.since.get_or_insert(now));
        let each = load.throughput.last_4 / f64::from(serving);
        let contradicts =
            |service: Service| service.knee && each * service.time < BUSY_AT_LEAST * service.workers;
        let must_last = if load.service.is_some_and(contradicts) { AGAINST_THE_KNEE } else { Duration::ZERO };
        (for_so_long >= must_last).then_some(each)
    }
}

fn is_outrun(load: &LoadFigures) -> bool {
    let answered = load.throughput;
    answered.last_4 >= LEAST_ANSWERED
        && load.arrivals.last_4 > 1.25 * answered.last_4
        && answered.second_half <= 1.15 * answered.first_half
        && load.streams_grown > 4.0 * (f64::from(load.streams) + 4.0).sqrt()
}

/// HAProxy's own queue is believed once it has lasted for so long.
const QUEUEING: Duration = Duration::from_secs(6);
/// And once requests wait in it for this share of the service time.
const QUEUE_TIME: f64 = 0.2;
/// What full servers did is believed for so long,
const BELIEVED: Duration = Duration::from_secs(60);
/// and let go by this much a minute.
const LET_GO: f64 = 1.05;
/// Full servers are not quite full: a place is free between two requests.
const FULL: f64 = 0.95;
/// Servers that hang do not show what they can do.
const LEAST_SHARE: f64 = 0.3;

/// What servers did while HAProxy queued in front of them, in workers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QueueLimit {
    busy: Option<(f64, Instant)>,
}

impl QueueLimit {
    /// The workers of a server: those of the curve, or fewer where it was full with fewer.
    pub(super) fn observe(
        &mut self,
        load: &LoadFigures,
        service: &Service,
        serving: u32,
        now: Instant,
    ) -> f64 {
        let queues = load.queueing_for >= QUEUEING && load.queue_time > QUEUE_TIME * service.time;
        if queues && serving > 0 && load.throughput.last_4 > 0.0 {
            let busy = load.throughput.last_4 * service.time / f64::from(serving);
            let busy = self.busy.map_or(busy, |(before, _)| before + 0.3 * (busy - before));
            self.busy = Some((busy, now));
        }
        let Some((busy, at)) = self.busy else { return service.workers };
        let too_old = now.saturating_duration_since(at).saturating_sub(BELIEVED).as_secs_f64() / 60.0;
        let workers = busy * LET_GO.powf(too_old) / FULL;
        if workers >= service.workers {
            self.busy = None;
        }
        workers.clamp(LEAST_SHARE * service.workers, service.workers)
    }
}
