//! HAProxy's ring over its Runtime API, on a real HAProxy: each line once, whatever happens to connections,
//! readers and processes.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use haproxy_autoscale::input::Options;
use support::received::Gate;
use support::{FakeHaproxy, Fault, Haproxy, PATIENCE, Received, comes_true, free_port, request, wait_until};

mod support;

/// HAProxy with a ring of `size` bytes, answering by itself on `port`.
fn config(port: u16, size: usize) -> String {
    format!(
        "
global
    stats socket {{dir}}/user.sock mode 600 level user
    stats socket {{dir}}/operator.sock mode 600 level operator
ring requests
    size {size}
    format raw
    maxlen 1200
frontend fe
    mode http
    timeout client 10m
    bind 127.0.0.1:{port}
    option httplog
    log ring@requests format raw local0
    http-request return status 200
"
    )
}

/// The numbers of the requests that arrived, in order.
fn numbers(received: &Received) -> Vec<usize> {
    let number = |line: &String| {
        let path = line.split("GET /n").nth(1)?;
        path.split(' ').next()?.parse().ok()
    };
    received.lines().iter().filter_map(number).collect()
}

/// Waits until all of `expected` have arrived, and nothing else, each once.
#[track_caller]
fn check(received: &Received, expected: Range<usize>) {
    let start = Instant::now();
    while numbers(received).len() < expected.len() && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    let found = numbers(received);
    let once: BTreeSet<usize> = found.iter().copied().collect();
    let missing: Vec<_> = expected.clone().filter(|number| !once.contains(number)).take(20).collect();
    assert!(
        missing.is_empty() && found.len() == expected.len(),
        "{} of {} arrived, missing {missing:?}, events {:#?}",
        found.len(),
        expected.len(),
        received.events()
    );
}

fn source(haproxy: &Haproxy, socket: &str) -> String {
    format!("ring:requests@{}", haproxy.dir().join(socket).display())
}

#[test]
fn what_comes_into_the_ring_is_read_and_what_was_in_it_is_not() {
    let port = free_port();
    let Some(haproxy) = Haproxy::start(&config(port, 100_000)) else { return };
    request(port, 1000..1020);
    let mut received = Received::start(&[&source(&haproxy, "operator.sock")]);
    assert!(received.wait_for_event("reading from process").ends_with(&format!(" {}", haproxy.pid())));
    request(port, 0..200);
    check(&received, 0..200);
    received.stop();
}

#[test]
fn what_was_in_the_ring_is_read_if_asked_for() {
    let port = free_port();
    let Some(haproxy) = Haproxy::start(&config(port, 100_000)) else { return };
    request(port, 0..20);
    let options = Options { from_start: true, ..Options::default() };
    let received = Received::start_with(&[&source(&haproxy, "admin.sock")], options);
    request(port, 20..30);
    check(&received, 0..30);
}

#[test]
fn a_connection_that_is_cut_costs_no_line_and_doubles_none() {
    let port = free_port();
    let Some(haproxy) = Haproxy::start(&config(port, 1_000_000)) else { return };
    let relay = Relay::start(haproxy.socket());
    let received = Received::start(&[&format!("ring:requests@127.0.0.1:{}", relay.port)]);
    received.wait_for_event("reading from process");
    for round in 0..5 {
        request(port, round * 100..round * 100 + 50);
        relay.cut();
        request(port, round * 100 + 50..round * 100 + 100);
    }
    check(&received, 0..500);
    assert!(!received.events().iter().any(|event| event.contains("lost")), "{:?}", received.events());
}

#[test]
fn lines_that_were_overwritten_while_nobody_could_read_are_told_as_a_gap() {
    let port = free_port();
    let Some(haproxy) = Haproxy::start(&config(port, 20_000)) else { return };
    let relay = Relay::start(haproxy.socket());
    let received = Received::start(&[&format!("ring:requests@127.0.0.1:{}", relay.port)]);
    received.wait_for_event("reading from process");
    request(port, 0..20);
    check(&received, 0..20);
    relay.refuse(true);
    relay.cut();
    received.wait_for_event("cannot be reached");
    request(port, 20..1000);
    relay.refuse(false);
    received.wait_for_event("is not there any more: lines may be lost");
    wait_until("the last line is read", PATIENCE, || numbers(&received).contains(&999));
    let found = numbers(&received);
    let once: BTreeSet<usize> = found.iter().copied().collect();
    assert!(
        once.len() == found.len() && found.len() < 1000,
        "{} lines, {} of them once",
        found.len(),
        once.len()
    );
}

#[test]
fn a_reload_under_load_costs_no_line_and_lets_the_old_process_go() {
    let port = free_port();
    let Some(mut haproxy) = Haproxy::start(&config(port, 1_000_000)) else { return };
    let received = Received::start(&[&source(&haproxy, "admin.sock")]);
    received.wait_for_event("reading from process");
    // A request under way over the reload: logged by the old process, when it ends.
    let mut slow = TcpStream::connect(("127.0.0.1", port)).unwrap();
    slow.write_all(b"GET /n0 HTTP/1.1\r\nHost: x\r\n").unwrap();
    let old = haproxy.pid();
    let load = thread::spawn(move || request(port, 1..2000));
    wait_until("the load is under way", PATIENCE, || numbers(&received).len() > 100);
    haproxy.reload();
    // An old process that has nothing more to say for five seconds is not heard any more.
    slow.write_all(b"Connection: close\r\n\r\n").unwrap();
    load.join().unwrap();
    let reloaded = received.wait_for_event("haproxy was reloaded");
    assert!(reloaded.ends_with(&format!(" {}", haproxy.pid())), "{reloaded}");
    check(&received, 0..2000);
    wait_until("the old process has ended", PATIENCE, || haproxy.has_ended(old));
    assert_eq!(received.events().iter().filter(|event| event.contains("reloaded")).count(), 1);
}

#[test]
fn a_restart_is_survived() {
    let port = free_port();
    let Some(mut haproxy) = Haproxy::start(&config(port, 100_000)) else { return };
    let received = Received::start(&[&source(&haproxy, "admin.sock")]);
    received.wait_for_event("reading from process");
    request(port, 0..50);
    check(&received, 0..50);
    haproxy.kill();
    received.wait_for_event("cannot be reached: connection refused; trying again");
    haproxy.start_again();
    request(port, 50..100);
    check(&received, 0..100);
    received.wait_for_event("haproxy was reloaded: reading from process");
}

#[test]
fn haproxy_that_comes_later_is_read_from_its_first_line() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("haproxy.sock");
    let received = Received::start(&[&format!("ring:requests@{}", link.display())]);
    received.wait_for_event("cannot be reached: entity not found; trying again");
    let Some(haproxy) = Haproxy::start(&config(port, 100_000)) else { return };
    request(port, 0..20);
    std::os::unix::fs::symlink(haproxy.socket(), &link).unwrap();
    received.wait_for_event("reading from process");
    request(port, 20..40);
    check(&received, 0..40);
}

#[test]
fn a_reader_that_is_too_slow_knows_how_many_lines_it_cost() {
    const SENT: usize = 6000;
    let port = free_port();
    let Some(haproxy) = Haproxy::start(&config(port, 20_000)) else { return };
    let gate = Gate::default();
    let received = Received::start_behind(&gate, &[&source(&haproxy, "admin.sock")], Options::default());
    received.wait_for_event("reading from process");
    gate.close();
    request(port, 0..SENT);
    gate.open();
    let arrived = || numbers(&received).len();
    // HAProxy tells with the next line that it has room for.
    let mut sent = SENT;
    wait_until("each has arrived or was lost", PATIENCE, || {
        request(port, sent..sent + 1);
        sent += 1;
        comes_true(Duration::from_secs(1), || arrived() as u64 + received.lost() == sent as u64)
    });
    assert!(received.lost() > 0, "{} of {sent} arrived and none was lost: send more", arrived());
    received.wait_for_event("lines were lost before they were read");
}

#[test]
fn a_refusal_is_told_once_in_haproxys_words() {
    let port = free_port();
    let Some(mut haproxy) = Haproxy::start(&config(port, 100_000)) else { return };
    let received = Received::start(&[&source(&haproxy, "user.sock")]);
    received.wait_for_event("refused: Permission denied");
    let other = source(&haproxy, "admin.sock").replace("requests", "others");
    let received_other = Received::start(&[&other]);
    received_other.wait_for_event("refused: No such event sink");
    haproxy.reload_with(
        &config(port, 100_000)
            .replace("ring requests", "ring others")
            .replace("ring@requests", "ring@others"),
    );
    received_other.wait_for_event("reading from process");
    request(port, 0..5);
    check(&received_other, 0..5);
    for received in [&received, &received_other] {
        let refusals = received.events().iter().filter(|event| event.contains("refused: ")).count();
        assert!(refusals == 1, "{:?}", received.events());
        assert!(received.lines().iter().all(|line| line.contains("GET")), "{:?}", received.lines());
    }
}

#[test]
fn a_haproxy_that_hangs_stops_neither_others_nor_the_stop() {
    let fake = FakeHaproxy::start(&[("app", &["s1"])]);
    fake.always(Fault::Hang);
    let port = free_port();
    let ring = format!("ring:requests@{}", fake.socket().display());
    let mut received = Received::start(&[&ring, &format!("tcp://127.0.0.1:{port}")]);
    TcpStream::connect(("127.0.0.1", port)).unwrap().write_all(b"one\n").unwrap();
    assert_eq!(received.wait_for(1), ["one"]);
    received.wait_for_event("cannot be reached: timed out; trying again");
    received.stop();
}

#[test]
fn an_answer_that_makes_no_sense_is_no_log() {
    let fake = FakeHaproxy::start(&[("app", &["s1"])]);
    fake.always(Fault::Answer(b"Pid: 99999999999\nPid: x\n\n\n\xff\xfe\nUptime_sec: -1\n\n".repeat(50)));
    let received = Received::start(&[&format!("ring:requests@{}", fake.socket().display())]);
    received.wait_for_event("cannot be reached: unexpected end of file; trying again");
    assert_eq!(received.lines(), Vec::<String>::new());
}

/// Passes bytes between a TCP port and a unix socket, until it is told to cut.
struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    streams: Mutex<Vec<TcpStream>>,
    refuses: AtomicBool,
}

impl Relay {
    fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.refuses.load(Ordering::Relaxed) {
                    continue;
                }
                let Ok(haproxy) = UnixStream::connect(&socket) else { continue };
                theirs.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let (mut from, mut to) = (stream.try_clone().unwrap(), haproxy.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (mut from, mut to) = (haproxy, stream);
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, shared }
    }

    /// Ends all connections, wherever they stand.
    fn cut(&self) {
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Relaxed);
    }
}
