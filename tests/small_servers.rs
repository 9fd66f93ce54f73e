//! The servers that the demo and other tests send their load to: do they behave like servers?

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use haproxy_autoscale::demo::haproxy::{self, Haproxy, ServerSeen};
use haproxy_autoscale::demo::load::{Answer, Felt, Load};
use haproxy_autoscale::demo::server::{ColdStart, ServiceTime, SmallServer};

const SLOW: ServiceTime = ServiceTime { mean: Duration::from_millis(50), cv: 0.0 };
const DEADLINE: Duration = Duration::from_secs(60);

/// One request on a connection of its own: the answer's first line, and how long it took.
#[track_caller]
fn request(addr: SocketAddr, method: &str, user_agent: &str) -> (String, Duration) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(addr).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout above 0 is accepted");
    write!(
        stream,
        "{method} /any/path HTTP/1.1\r\nHost: x\r\nUser-Agent: {user_agent}\r\nConnection: close\r\n\r\n"
    )
    .expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers within the deadline");
    (answer.lines().next().unwrap_or_default().to_owned(), start.elapsed())
}

#[track_caller]
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "still waiting for: {what}");
        thread::yield_now();
    }
}

#[test]
fn every_path_is_answered_and_counted_by_who_asked() {
    let server = SmallServer::start(1, SLOW, None).unwrap();
    for (method, user_agent) in
        [("GET", "curl/8"), ("HEAD", "curl/8"), ("GET", "haproxy-autoscale/0.1"), ("OPTIONS", "")]
    {
        assert_eq!(request(server.addr(), method, user_agent).0, "HTTP/1.1 200 OK");
    }
    let seen = server.counters();
    assert_eq!((seen.requests(), seen.users(), seen.warm_ups(), seen.checks()), (3, 2, 1, 1));
    assert_eq!(seen.in_flight(), 0);
}

#[test]
fn a_server_is_as_fast_as_its_workers_and_the_rest_waits() {
    let took = |workers: usize| {
        let server = SmallServer::start(workers, SLOW, None).unwrap();
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| request(server.addr(), "GET", "curl/8"));
            }
        });
        start.elapsed()
    };
    let one = took(1);
    assert!(one >= 4 * SLOW.mean, "four requests one after the other took {one:?}");
    wait_for("four requests side by side, unless the machine stands still", || took(4) < 4 * SLOW.mean);
}

#[test]
fn a_cold_server_is_slow_at_first() {
    let server = SmallServer::start(1, SLOW, Some(ColdStart { over: 1.0, factor: 4.0 })).unwrap();
    let (_, first) = request(server.addr(), "GET", "curl/8");
    assert!(first >= 4 * SLOW.mean, "{first:?}");
    wait_for("it to be warm", || request(server.addr(), "GET", "curl/8").1 < 4 * SLOW.mean);
}

#[test]
fn a_server_can_be_told_to_fail() {
    let server = SmallServer::start(1, SLOW, None).unwrap();
    server.set_status(503);
    assert_eq!(request(server.addr(), "GET", "curl/8").0, "HTTP/1.1 503 Service Unavailable");
}

#[test]
fn a_client_that_leaves_is_no_longer_in_flight() {
    let hour = ServiceTime { mean: Duration::from_secs(3600), cv: 0.0 };
    let server = SmallServer::start(1, hour, None).unwrap();
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    wait_for("the request to arrive", || server.counters().in_flight() == 1);
    drop(stream);
    wait_for("the request to be given up", || server.counters().in_flight() == 0);
}

#[test]
fn a_dropped_server_is_gone_at_once() {
    let server = SmallServer::start(1, SLOW, None).unwrap();
    let addr = server.addr();
    drop(server);
    assert!(TcpStream::connect(addr).is_err(), "{addr} still accepts");
}

#[test]
fn a_load_comes_at_its_rate_however_slow_the_answers_are() {
    let server =
        SmallServer::start(1000, ServiceTime { mean: Duration::from_millis(300), cv: 0.0 }, None).unwrap();
    let load = Load::new(server.addr(), |t| if t < Duration::from_secs(1) { 400.0 } else { 0.0 });
    let measured = load.run(Duration::from_secs(2)).unwrap();
    let felt = Felt::of(&measured, Duration::from_millis(300));
    // 400 expected, standard deviation 20; more than six of them off is no accident.
    assert!((270..530).contains(&felt.requests), "{felt:?}");
    assert_eq!((felt.failed, felt.over), (0, felt.requests), "{felt:?}");
    assert_eq!(server.counters().users(), felt.requests as u64);
    assert!(
        measured.iter().all(|request| request.start < Duration::from_secs(1) + Duration::from_millis(100))
    );
}

#[test]
fn clients_give_up_and_newcomers_are_turned_away() {
    let server =
        SmallServer::start(1, ServiceTime { mean: Duration::from_secs(3600), cv: 0.0 }, None).unwrap();
    let load = Load::new(server.addr(), |_| 200.0).patience(Duration::from_millis(300)).most_in_flight(10);
    let measured = load.run(Duration::from_millis(600)).unwrap();
    let count = |answer: Answer| measured.iter().filter(|request| request.answer == answer).count();
    let (gave_up, turned_away) = (count(Answer::GaveUp), count(Answer::TurnedAway));
    assert!(gave_up >= 10 && turned_away > 0 && gave_up + turned_away == measured.len(), "{measured:?}");
    assert_eq!(Felt::of(&measured, Duration::MAX).failed, measured.len());
}

#[test]
fn a_load_that_is_dropped_ends_at_once() {
    let server =
        SmallServer::start(1, ServiceTime { mean: Duration::from_secs(3600), cv: 0.0 }, None).unwrap();
    let load = Load::new(server.addr(), |_| 100.0).patience(Duration::from_secs(3600));
    let running = load.start(Duration::from_secs(3600)).unwrap();
    wait_for("the first request", || server.counters().in_flight() > 0);
    assert!(!running.is_over());
    drop(running);
    wait_for("all clients to hang up", || server.counters().in_flight() == 0);
}

#[test]
fn nobody_listening_is_a_failure_of_every_request() {
    let server = SmallServer::start(1, SLOW, None).unwrap();
    let addr = server.addr();
    drop(server);
    let measured = Load::new(addr, |_| 100.0).run(Duration::from_millis(300)).unwrap();
    assert!(!measured.is_empty() && measured.iter().all(|request| request.is_failed()), "{measured:?}");
}

#[test]
fn a_real_haproxy_sends_requests_to_the_servers_that_serve() {
    if haproxy::find().is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs a haproxy");
        // Written past the test harness, which would swallow it.
        let _ = writeln!(std::io::stderr(), "skipped: no haproxy on this machine");
        return;
    }
    let servers: Vec<_> = (0..3).map(|_| SmallServer::start(2, SLOW, None).unwrap()).collect();
    let addrs: Vec<_> = servers.iter().map(SmallServer::addr).collect();
    let haproxy = Haproxy::start(&addrs, 1, 4).unwrap();
    assert_eq!(request(haproxy.frontend(), "GET", "curl/8").0, "HTTP/1.1 200 OK");
    let serving = || haproxy.servers().unwrap().iter().map(ServerSeen::is_serving).collect::<Vec<_>>();
    assert_eq!(serving(), [true, false, false]);
    assert_eq!(haproxy.ask("set server app/s3 state ready").unwrap().trim(), "");
    assert_eq!(serving(), [true, false, true]);
    for _ in 0..3 {
        request(haproxy.frontend(), "GET", "curl/8");
    }
    assert_eq!(
        servers.iter().map(|server| server.counters().users() > 0).collect::<Vec<_>>(),
        [true, false, true]
    );
    wait_for("four requests in the log", || {
        let log = std::fs::read_to_string(haproxy.log()).unwrap();
        log.lines().filter(|line| line.contains(" app/s") && line.contains("\"GET ")).count() == 4
    });
    wait_for("a health check", || servers[2].counters().checks() > 0);
    let folder = haproxy.folder().to_owned();
    drop(haproxy);
    assert!(!folder.exists());
}
