//! Sockets that others send to: what is sent is what arrives, whoever else sends garbage, stalls or takes
//! the address away.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Duration;

use haproxy_autoscale::input::Options;
use support::received::Gate;
use support::{PATIENCE, Received, comes_true, free_port, wait_until};

mod support;

fn lines(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

#[test]
fn each_datagram_of_udp_is_a_line_or_several() {
    for host in ["127.0.0.1", "[::1]"] {
        let address = format!("{host}:{}", free_port());
        let mut received = Received::start(&[&format!("udp://{address}")]);
        let sender = UdpSocket::bind(format!("{host}:0")).unwrap();
        let big = "x".repeat(60_000);
        for datagram in ["one", "two\n", "", "three\nfour", &big] {
            sender.send_to(datagram.as_bytes(), &address).unwrap();
        }
        assert_eq!(received.wait_for(5), ["one", "two", "three", "four", &big]);
        assert!(received.wait_for_event("listening with a receive buffer").contains("KiB"));
        received.stop();
    }
}

#[test]
fn datagrams_the_kernel_had_no_room_for_are_counted_and_told() {
    /// Far more than 32 MiB of receive buffer hold.
    const SENT: usize = 120_000;
    let address = format!("127.0.0.1:{}", free_port());
    let gate = Gate::default();
    let received = Received::start_behind(&gate, &[&format!("udp://{address}")], Options::default());
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The first ones are received, and keep the thread busy; the rest has to wait in the kernel.
    gate.close();
    for n in 0..SENT {
        sender.send_to(format!("line {n}").as_bytes(), &address).unwrap();
    }
    gate.open();
    let arrived = || received.lines().len();
    // The kernel tells with the next one that it has room for.
    let mut sent = SENT;
    wait_until("each has arrived or was lost", PATIENCE, || {
        sender.send_to(b"one more", &address).unwrap();
        sent += 1;
        comes_true(Duration::from_secs(1), || arrived() as u64 + received.lost() == sent as u64)
    });
    assert!(received.lost() > 0, "{} of {sent} arrived and none was lost: send more", arrived());
    assert!(received.wait_for_event("lines were lost before they were read").contains("in all"));
}

#[test]
fn an_address_that_is_taken_is_waited_for() {
    let port = free_port();
    let udp = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let tcp = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let address = format!("127.0.0.1:{port}");
    let received = Received::start(&[&format!("udp://{address}"), &format!("tcp://{address}")]);
    received.wait_for_events("cannot listen: address in use; trying again", 2);
    drop((udp, tcp));
    received.wait_for_events("listening", 2);
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"one", &address).unwrap();
    received.wait_for(1);
    TcpStream::connect(&address).unwrap().write_all(b"two\n").unwrap();
    assert_eq!(received.wait_for(2), ["one", "two"]);
}

#[test]
fn a_unix_socket_is_made_with_its_mode_and_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sock");
    for (settings, mode) in [("", 0o660), ("?mode=0622", 0o622)] {
        let mut received = Received::start(&[&format!("unix://{}{settings}", path.display())]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        let sender = UnixDatagram::unbound().unwrap();
        for line in ["one", "two\nthree\n"] {
            sender.send_to(line.as_bytes(), &path).unwrap();
        }
        assert_eq!(received.wait_for(3), ["one", "two", "three"]);
        received.stop();
        assert!(!path.exists());
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn a_unix_socket_is_given_to_the_group_that_is_named() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root may give a socket to any group");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sock");
    let group = nix::unistd::Group::from_name("daemon").unwrap().unwrap();
    let _received = Received::start(&[&format!("unix://{}?group=daemon", path.display())]);
    assert_eq!(fs::metadata(&path).unwrap().gid(), group.gid.as_raw());
    let other = folder.path().join("other.sock");
    let received = Received::start(&[&format!("unix://{}?group=no-such-group", other.display())]);
    received.wait_for_event("socket cannot be given to group no-such-group: entity not found");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sock");
    let source = format!("unix://{}", path.display());
    let other = UnixDatagram::bind(&path).unwrap();

    let received = Received::start(&[&source]);
    received.wait_for_event("another process receives there");
    UnixDatagram::unbound().unwrap().send_to(b"for the other", &path).unwrap();
    let mut datagram = [0; 64];
    assert_eq!(other.recv(&mut datagram).unwrap(), 13, "it still is the other's");

    // It ends without removing its socket, as a process that is killed does.
    drop(other);
    received.wait_for_event("listening");
    UnixDatagram::unbound().unwrap().send_to(b"for us", &path).unwrap();
    assert_eq!(received.wait_for(1), ["for us"]);
    drop(received);

    let listener = UnixListener::bind(&path).unwrap();
    let received = Received::start(&[&source]);
    received.wait_for_event("another process receives there");
    drop((received, listener));
    assert!(path.exists(), "a live socket of another kind was removed");
    fs::remove_file(&path).unwrap();

    fs::write(&path, "precious").unwrap();
    let received = Received::start(&[&source]);
    received.wait_for_event("not a socket: left alone");
    drop(received);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_unix_socket_that_was_removed_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sock");
    let received = Received::start(&[&format!("unix://{}", path.display())]);
    fs::remove_file(&path).unwrap();
    received.wait_for_event("the socket's path does not lead to it any more");
    received.wait_for_events("listening", 2);
    UnixDatagram::unbound().unwrap().send_to(b"one", &path).unwrap();
    assert_eq!(received.wait_for(1), ["one"]);
}

#[test]
fn senders_over_tcp_do_not_get_into_each_others_lines() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut received = Received::start(&[&format!("tcp://{address}")]);
    let connect = || TcpStream::connect(&address).unwrap();
    // One stalls within a message, one sends what is no message, one goes away in the middle.
    let mut stalled = connect();
    stalled.write_all(b"37 half a mes").unwrap();
    let mut garbage = connect();
    garbage.write_all(&[b'\xff'; 200_000]).unwrap();
    let mut gone = connect();
    gone.write_all(b"cut off").unwrap();
    drop(gone);
    let senders: Vec<_> = (0..8)
        .map(|n| {
            let mut stream = connect();
            std::thread::spawn(move || {
                for line in lines(0..500) {
                    let message = format!("{n} {line}");
                    let framed = match n % 2 {
                        0 => format!("<1>{message}\n"),
                        _ => format!("{} <1>{message}", message.len() + 3),
                    };
                    // In two pieces, so that messages are cut everywhere.
                    let (one, two) = framed.split_at(framed.len() / 2);
                    stream.write_all(one.as_bytes()).unwrap();
                    stream.write_all(two.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let found = received.wait_for(8 * 500 + 1);
    for n in 0..8 {
        let own: Vec<_> = found.iter().filter_map(|line| line.strip_prefix(&format!("<1>{n} "))).collect();
        assert_eq!(own, lines(0..500), "of sender {n}");
    }
    assert!(found.iter().any(|line| line == "cut off"));
    stalled.write_all(b"sage, and a rest of it.....").unwrap();
    let found = received.wait_for(8 * 500 + 2);
    assert_eq!(found.last().unwrap(), "half a message, and a rest of it.....");
    received.stop();
}

#[test]
fn more_senders_than_there_may_be_are_turned_away() {
    let address = format!("127.0.0.1:{}", free_port());
    let received = Received::start(&[&format!("tcp://{address}")]);
    let mut senders: Vec<_> = (0..256).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let turned_away = TcpStream::connect(&address).unwrap();
    received.wait_for_event("more than 256 senders: the rest is turned away");
    turned_away.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(std::io::Read::read(&mut &turned_away, &mut [0]).unwrap_or(0), 0, "it was closed");
    senders[255].write_all(b"still here\n").unwrap();
    assert_eq!(received.wait_for(1), ["still here"]);
    // Room is made by those who go.
    senders.drain(..200);
    wait_until("a newcomer is heard", PATIENCE, || {
        let said = TcpStream::connect(&address).and_then(|mut stream| stream.write_all(b"new\n"));
        said.is_ok() && received.lines().contains(&"new".to_owned())
    });
}

#[test]
fn that_nobody_is_connected_is_told_and_that_somebody_is_again() {
    let address = format!("127.0.0.1:{}", free_port());
    let received = Received::start(&[&format!("tcp://{address}")]);
    let sender = TcpStream::connect(&address).unwrap();
    received.wait_for_event("has connected");
    drop(sender);
    received.wait_for_event("no sender is connected any more");
    let _sender = TcpStream::connect(&address).unwrap();
    received.wait_for_events("has connected", 2);
}
