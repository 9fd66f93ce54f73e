//! The servers that the demo and other tests send their load to: do they behave like servers?

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use haproxy_autoscale::demo::server::{ColdStart, ServiceTime, SmallServer};

const SLOW: ServiceTime = ServiceTime { mean: Duration::from_millis(50), cv: 0.0 };
const DEADLINE: Duration = Duration::from_secs(10);

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
    let (one, four) = (took(1), took(4));
    assert!(one >= 4 * SLOW.mean, "four requests one after the other took {one:?}");
    assert!(four < one, "side by side took {four:?}, one after the other {one:?}");
}

#[test]
fn a_cold_server_is_slow_at_first() {
    let server = SmallServer::start(1, SLOW, Some(ColdStart { requests: 1, factor: 4.0 })).unwrap();
    let (_, first) = request(server.addr(), "GET", "curl/8");
    let (_, second) = request(server.addr(), "GET", "curl/8");
    assert!(first >= 4 * SLOW.mean && second < first, "first {first:?}, second {second:?}");
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
