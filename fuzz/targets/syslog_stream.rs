//! Syslog over TCP: however the bytes are cut, the messages are the same; none is longer than a line may be by
//! more than a byte, and what was counted or ended with a newline comes out whole.
#![no_main]

use haproxy_autoscale::input::{Messages, TcpFraming};
use haproxy_autoscale_fuzz::{cuts, lines};
use libfuzzer_sys::fuzz_target;

fn read(framing: TcpFraming, longest: usize, chunks: &[&[u8]]) -> Vec<u8> {
    let (mut messages, mut out) = (Messages::new(framing, longest), Vec::new());
    for chunk in chunks {
        messages.push(chunk, &mut out);
    }
    messages.finish(&mut out);
    out
}

fuzz_target!(|input: &[u8]| {
    let [longest, bytes @ ..] = input else { return };
    let longest = usize::from(*longest);
    for framing in [TcpFraming::Auto, TcpFraming::Lines] {
        let whole = read(framing, longest, &[bytes]);
        for chunks in cuts(bytes) {
            assert_eq!(read(framing, longest, &chunks), whole);
        }
        assert!(whole.len() <= bytes.len() + 1);
        assert!(whole.last().is_none_or(|&last| last == b'\n'));
    }
    // Lines alone are cut at newlines and nowhere else.
    let ended = read(TcpFraming::Lines, longest, &[bytes]);
    assert!(lines(&ended).all(|line| line.len() <= longest + 1));
    // What is a message in one framing is one in the other.
    let is_trailer = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
    let (mut wire, mut expected) = (Vec::new(), Vec::new());
    for (number, line) in lines(bytes).enumerate() {
        let end = line.iter().rposition(|byte| !is_trailer(byte)).map_or(0, |last| last + 1);
        let message = [b"<134>", &line[..end.min(longest.saturating_sub(5))]].concat();
        let end = message.iter().rposition(|byte| !is_trailer(byte)).map_or(0, |last| last + 1);
        let message = &message[..end];
        if number % 2 == 0 {
            wire.extend_from_slice(format!("{} ", message.len()).as_bytes());
        }
        wire.extend_from_slice(message);
        if number % 2 == 1 {
            wire.push(b'\n');
        }
        expected.extend_from_slice(message);
        expected.push(b'\n');
    }
    if longest >= 5 {
        assert_eq!(read(TcpFraming::Auto, longest, &[&wire]), expected);
    }
});
