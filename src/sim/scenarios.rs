//! The built-in scenarios, by name: what the policies are compared on.
//!
//! Each is the standard backend ([`Scenario::standard`]) with what makes it hard. Where nothing else is said, two
//! of its sixteen servers serve at the start.

use std::sync::Arc;

use super::scenario::{Balance, Discipline, Incident, Noise, Scenario, ServerModel, Shape, Share, Trouble};
use super::traces::{Trace, TraceError};

const HOUR: f64 = 3600.0;

/// All of them, in the order of the comparison table.
///
/// # Errors
/// Never, as long as the traces that are built in are good, which a test sees to.
pub fn all() -> Result<Vec<Scenario>, TraceError> {
    let groups = [jumps(), ramps(), troubles(), haproxys(), servers(), traces()?];
    Ok(groups.into_iter().flatten().collect())
}

/// The one called `name`.
///
/// # Errors
/// As [`all`].
pub fn named(name: &str) -> Result<Option<Scenario>, TraceError> {
    Ok(all()?.into_iter().find(|scenario| scenario.name == name))
}

/// One wave of an hour.
fn wave(name: &str, about: &str, low: f64, high: f64) -> Scenario {
    Scenario::standard(name, about, HOUR, Shape::Wave { low, high, period_s: HOUR })
}

/// From 60 to 900 requests a second and back.
fn one_wave(name: &str, about: &str) -> Scenario {
    wave(name, about, 60.0, 900.0)
}

/// 380 requests a second, which five servers carry, for an hour; five serve at the start.
fn steady(name: &str, about: &str) -> Scenario {
    let scenario = Scenario::standard(name, about, HOUR, Shape::Constant(380.0));
    Scenario { serving_at_start: 5, ..scenario }
}

fn with_server(mut scenario: Scenario, change: impl FnOnce(&mut ServerModel)) -> Scenario {
    change(&mut scenario.server);
    scenario
}

fn with_incident(mut scenario: Scenario, from_s: f64, until_s: f64, what: Trouble) -> Scenario {
    scenario.incidents.push(Incident { from_s, until_s, what });
    scenario
}

fn flash(name: &str, about: &str, start_delay_s: f64) -> Scenario {
    let jump = Shape::Lines(vec![(600.0, 150.0), (610.0, 750.0), (1210.0, 750.0), (1510.0, 150.0)]);
    let scenario = Scenario::standard(name, about, 2400.0, jump);
    with_server(scenario, |server| server.start_delay_s = start_delay_s)
}

fn jumps() -> Vec<Scenario> {
    let diurnal = Shape::Wave { low: 60.0, high: 900.0, period_s: HOUR };
    let mut mc = flash("flash5x-mc", "the same with maxconn 24 and a start delay of 15 s", 15.0);
    mc.haproxy.maxconn = Some(24);
    let mut lc = flash("flash5x-lc", "the same with leastconn and a start delay of 15 s", 15.0);
    lc.haproxy.balance = Balance::LeastConn;
    vec![
        Scenario::standard("diurnal", "60 to 900 req/s and back, twice in 2 h", 2.0 * HOUR, diurnal),
        flash("flash5x", "150 req/s, five times that within 10 s, for 10 min", 5.0),
        flash("flash5x-D30", "the same with a start delay of 30 s", 30.0),
        mc,
        lc,
    ]
}

fn ramps() -> Vec<Scenario> {
    let ramp = |name, about, start_delay_s| {
        let shape = Shape::Lines(vec![(0.0, 50.0), (3000.0, 1000.0)]);
        let scenario = Scenario::standard(name, about, HOUR, shape);
        with_server(scenario, |server| server.start_delay_s = start_delay_s)
    };
    let square = Shape::Square { low: 80.0, high: 560.0, period_s: 600.0 };
    let teeth = Shape::Sawtooth { low: 200.0, high: 520.0, period_s: 90.0 };
    let mut sawtooth =
        Scenario::standard("sawtooth", "200 to 520 req/s in 90 s, again and again, noisy", HOUR, teeth);
    sawtooth.load.noise = Noise { share: 0.15, over_s: 8.0 };
    let bursts = Shape::Bursts { base: 30.0, adds: (150.0, 700.0), lasts_s: (1.0, 4.0), every_s: 16.0 };
    vec![
        ramp("ramp", "50 to 1,000 req/s in 50 min", 5.0),
        ramp("ramp-D60", "the same with a start delay of 60 s", 60.0),
        Scenario::standard("square", "80 and 560 req/s, 5 min each", HOUR, square),
        sawtooth,
        Scenario::standard(
            "bursts",
            "30 req/s, and 150 to 700 more for 1 to 4 s about every 16 s",
            HOUR,
            bursts,
        ),
    ]
}

fn troubles() -> Vec<Scenario> {
    const EVER: f64 = f64::INFINITY;
    let start = Scenario { serving_at_start: 2, ..steady("steady", "380 req/s on two servers at the start") };
    let degraded = steady("degraded", "380 req/s, and one of five servers three times slower for 20 min");
    let deploy = steady("deploy+50%", "380 req/s, and a deploy makes everything 1.5 times slower");
    let slow = steady("slow-dep", "380 req/s, and what is behind the servers is six times slower for 10 min");
    let night = vec![(1200.0, 300.0), (1210.0, 1.0), (6000.0, 1.0), (6010.0, 300.0)];
    let night = Scenario::standard(
        "overnight",
        "300 req/s, 80 min of almost none, 300 again",
        2.0 * HOUR,
        Shape::Lines(night),
    );
    vec![
        start,
        with_incident(degraded, 1200.0, 2400.0, Trouble::SlowServer(2, 3.0)),
        with_incident(deploy, 1200.0, EVER, Trouble::Slower(1.5)),
        with_incident(slow, 1200.0, 1800.0, Trouble::Slower(6.0)),
        Scenario { serving_at_start: 4, ..night },
    ]
}

fn haproxys() -> Vec<Scenario> {
    let mut maxconn = one_wave("maxconn", "one wave, maxconn 12");
    maxconn.haproxy.maxconn = Some(12);
    let mut leastconn = one_wave("leastconn", "one wave, leastconn");
    leastconn.haproxy.balance = Balance::LeastConn;
    let maint = one_wave("maint-D0", "one wave, servers start without delay");
    let mut slow_clients =
        wave("slowclients", "40 to 400 req/s, and 15 % of the clients read for 8 s", 40.0, 400.0);
    slow_clients.clients.slow_readers = Share { share: 0.15, mean_s: 8.0 };
    let mut long_poll = wave("long-poll", "60 to 500 req/s, and 1 % stay for 10 min", 60.0, 500.0);
    long_poll.clients.streams.share = 0.01;
    let maint = with_server(maint, |server| server.start_delay_s = 0.0);
    vec![maxconn, leastconn, maint, slow_clients, long_poll]
}

fn servers() -> Vec<Scenario> {
    let single = wave("single-thr", "10 to 250 req/s, one worker of 30 ms, target 250 ms", 10.0, 250.0);
    let single = with_server(single, |server| {
        *server = ServerModel { workers: 1, service_s: 0.03, cv: 0.7, ..*server };
    });
    let wide = wave("wide-io", "60 to 900 req/s, 40 workers of 250 ms, target 1 s", 60.0, 900.0);
    let wide = with_server(wide, |server| {
        *server = ServerModel { workers: 40, service_s: 0.25, cv: 0.5, ..*server };
    });
    let low = wave("low-rate", "1 to 12 req/s, two workers of 350 ms, target 1.5 s", 1.0, 12.0);
    let low = with_server(low, |server| {
        *server = ServerModel { workers: 2, service_s: 0.35, cv: 0.8, ..*server };
    });
    let heavy = one_wave("heavy-tail", "one wave, service times of CV 2.5, target 800 ms");
    let heavy = with_server(heavy, |server| server.cv = 2.5);
    let thrash = one_wave("thrash", "one wave, servers get slower the more they have to do");
    let cpu = one_wave("ps-cpu", "one wave, four shared cores, 40 ms");
    let cpu = with_server(cpu, |server| {
        *server = ServerModel { workers: 4, service_s: 0.04, discipline: Discipline::Shared, ..*server };
    });
    let mix = steady("mix-shift", "380 req/s, and a tenth of it becomes six times longer, target 800 ms");
    let mix = with_incident(mix, 1500.0, f64::INFINITY, Trouble::Mix { share: 0.1, by: 6.0 });
    let gap = Shape::Lines(vec![(0.0, 150.0), (3000.0, 800.0)]);
    let gap = Scenario::standard("log-gap", "150 to 800 req/s, and the log is lost for 2 min", HOUR, gap);
    let unequal = wave("unequal", "40 to 480 req/s, servers of 2, 4 and 8 workers by turns", 40.0, 480.0);
    let small = wave("small-pool", "20 to 280 req/s, four servers", 20.0, 280.0);
    vec![
        Scenario { target_ms: 250, ..single },
        Scenario { target_ms: 1000, servers: 12, ..wide },
        Scenario { target_ms: 1500, servers: 8, ..low },
        Scenario { target_ms: 800, ..heavy },
        with_server(thrash, |server| server.thrash = 0.15),
        cpu,
        Scenario { target_ms: 800, ..mix },
        with_incident(gap, 1500.0, 1620.0, Trouble::LogLost),
        Scenario { servers: 4, ..small },
        Scenario { sizes: vec![2, 4, 8], ..unequal },
    ]
}

fn traces() -> Result<Vec<Scenario>, TraceError> {
    let nasa = trace(
        "nasa",
        "two days of NASA's web server, 1995, a minute in 5 s",
        (include_str!("../../fixtures/traces/nasa.csv"), 800.0, 5.0),
    )?;
    let clarknet = trace(
        "clarknet",
        "two days of an Internet provider's site, 1995, a minute in 5 s",
        (include_str!("../../fixtures/traces/clarknet.csv"), 800.0, 5.0),
    )?;
    let worldcup = trace(
        "worldcup",
        "a day of the World Cup's site, 1998, a minute in 10 s",
        (include_str!("../../fixtures/traces/worldcup.csv"), 800.0, 10.0),
    )?;
    let twitter = trace(
        "twitter",
        "four hours of a public stream of Twitter, 2021, start delay 10 s",
        (include_str!("../../fixtures/traces/twitter.csv"), 900.0, 1.0),
    )?;
    let twitter = with_server(twitter, |server| server.start_delay_s = 10.0);
    Ok(vec![
        Scenario { serving_at_start: 3, ..nasa },
        Scenario { serving_at_start: 5, ..clarknet },
        Scenario { serving_at_start: 3, ..worldcup },
        Scenario { serving_at_start: 5, ..twitter },
    ])
}

/// A whole trace: its counts, the rate that the 99.5th percentile of them becomes, and how long a bin lasts.
fn trace(name: &str, about: &str, (csv, peak, bin_s): (&str, f64, f64)) -> Result<Scenario, TraceError> {
    let trace = Arc::new(Trace::from_csv(csv)?);
    let length_s = trace.len() as f64 * bin_s;
    let shape = Shape::Trace { trace, percentile: 99.5, peak, bin_s };
    Ok(Scenario::standard(name, about, length_s, shape))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_34_with_names_of_their_own() {
        let all = all().expect("the traces are good");
        let names: HashSet<_> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        assert_eq!((all.len(), names.len()), (34, 34), "{names:?}");
        assert!(all.iter().all(|scenario| scenario.serving_at_start <= scenario.servers));
        assert_eq!(named("twitter").unwrap().map(|twitter| twitter.length_s), Some(14_400.0));
        assert!(named("none").unwrap().is_none());
    }
}
