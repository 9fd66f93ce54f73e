//! What HAProxy says when a ring is read: however it is cut, the lines are the same, and each line behind `show
//! info` is handed over or counted as lost, unless HAProxy has refused.
#![no_main]

use std::time::Instant;

use haproxy_autoscale::input::read_ring;
use haproxy_autoscale_fuzz::{cuts, lines};
use libfuzzer_sys::fuzz_target;

/// What HAProxy says in the place of a ring.
const REFUSALS: [&[u8]; 3] = [b"Permission denied", b"No such event sink", b"Unknown command"];

fuzz_target!(|bytes: &[u8]| {
    let now = Instant::now();
    for chunks in cuts(bytes) {
        assert_eq!(read_ring(chunks, now), read_ring([bytes], now));
    }
    let log: Vec<&[u8]> = lines(bytes).filter(|line| !line.is_empty() && !line.ends_with(b"\r")).collect();
    let answered = [b"Pid: 7\nUptime_sec: 5\n\n".as_slice(), &log.join(&b'\n'), b"\n"].concat();
    let (out, lost) = read_ring([answered.as_slice()], now);
    if log.first().is_some_and(|line| REFUSALS.iter().any(|refusal| line.starts_with(refusal))) {
        assert!(out.is_empty());
        return;
    }
    let is_loss = |line: &&&[u8]| {
        let words: Vec<&[u8]> = line.rsplitn(4, |&byte| byte == b' ').collect();
        matches!(words[..], [b"dropped", b"event" | b"events", number, ..] if !number.is_empty() && number.iter().all(|byte| byte.is_ascii_digit() || *byte == b'+'))
    };
    let told = lines(&out).filter(|line| !line.is_empty()).count();
    let losses = log.iter().filter(is_loss).count();
    assert!(told <= log.len() && told + losses >= log.len(), "{told} of {}, {lost} lost", log.len());
    assert!(lost == 0 || losses > 0);
});
