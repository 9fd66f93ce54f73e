//! Bytes of a source to samples: every line is counted as one thing, however the bytes are cut.
#![no_main]

use std::time::{Duration, Instant};

use haproxy_autoscale::core::log::format::LineFormat;
use haproxy_autoscale::core::log::reader::{Batch, Reader};
use haproxy_autoscale::core::names::Names;
use haproxy_autoscale_fuzz::{cuts, pieces};
use libfuzzer_sys::fuzz_target;

fn read(chunks: &[&[u8]], now: Instant) -> Batch {
    let mut reader = Reader::new(Names::default(), LineFormat::Auto).with_most_line_bytes(1000);
    let mut batch = Batch::default();
    for chunk in chunks {
        reader.read(chunk, now, &mut batch);
    }
    reader.finish(now, &mut batch);
    batch
}

fuzz_target!(|bytes: &[u8]| {
    let now = Instant::now();
    let whole = read(&[bytes], now);
    let counts = whole.counts;
    let newlines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let half = usize::from(bytes.last().is_some_and(|&byte| byte != b'\n'));
    assert_eq!(counts.lines, (newlines + half) as u64);
    assert_eq!(counts.lines, counts.requests + counts.messages + counts.unparsed);
    assert_eq!(whole.first_unparsed.is_some(), counts.unparsed > 0);
    assert!(whole.samples.len() as u64 <= counts.requests);
    for chunks in cuts(bytes) {
        assert_eq!(read(&chunks, now), whole);
    }
    // What has been learned of a tail, or forgotten of a half line, does not matter to the counts.
    let mut reader = Reader::new(Names::default(), LineFormat::Auto).with_most_line_bytes(1000);
    reader.learn_clock(bytes, now);
    let mut batch = Batch::default();
    for (number, chunk) in pieces(bytes).into_iter().enumerate() {
        reader.read(chunk, now + Duration::from_secs(number as u64), &mut batch);
        if number % 3 == 0 {
            reader.discard_half_line();
        }
    }
    let counts = batch.counts;
    assert_eq!(counts.lines, counts.requests + counts.messages + counts.unparsed);
    assert!(counts.lines <= newlines as u64);
});
