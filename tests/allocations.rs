//! Nothing is allocated for a line, whichever way it is read: counted by an allocator that counts.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use haproxy_autoscale::core::log::fast::FastReader;
use haproxy_autoscale::core::log::format::LineFormat;
use haproxy_autoscale::core::log::framing::{Frame, Framing};
use haproxy_autoscale::core::log::parser::LineParser;
use haproxy_autoscale::core::log::reader::{Batch, Reader};
use haproxy_autoscale::core::names::Names;

/// Lines of a real HAProxy in all of its own formats, behind all headers and in all wrappings.
fn fixtures() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lines");
    let mut logs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    logs.iter().flat_map(|path| fs::read(path).unwrap()).collect()
}

/// `read` reads the same lines each time; what it has to keep of them is there after the first.
#[track_caller]
fn check(expected: u64, mut read: impl FnMut()) {
    read();
    let counted = allocation_counter::measure(read);
    assert_eq!(counted.count_total, expected, "{counted:?}");
}

#[test]
fn a_line_read_for_all_its_fields_allocates_nothing() {
    let (text, mut parser, mut framing) = (fixtures(), LineParser::default(), Framing::default());
    let mut lines = 0;
    check(0, || {
        framing.push(&text, |frame| {
            if let Frame::Line(line) = frame {
                black_box(parser.read(line));
                lines += 1;
            }
        });
    });
    assert!(lines > 300, "{lines}");
}

#[test]
fn a_line_read_for_its_sample_allocates_nothing() {
    let text = fixtures();
    let mut reader = Reader::new(Names::default(), LineFormat::Auto);
    let (mut batch, arrived) = (Batch::default(), Instant::now());
    let mut samples = 0;
    // The example of what was not understood, one for all the lines.
    check(1, || {
        batch.clear();
        reader.read(&text, arrived, &mut batch);
        samples += batch.samples.len();
    });
    assert!(samples > 200, "{samples}");
}

#[test]
fn a_line_read_the_short_way_allocates_nothing() {
    let (text, mut fast) = (fixtures(), FastReader::default());
    let (mut usual, mut unusual) = (0, 0);
    check(0, || {
        let mut rest = &text[..];
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            usual += usize::from(black_box(fast.read(rest)).is_some());
            unusual += usize::from(black_box(fast.read_unusual(rest)).is_some());
            rest = &rest[newline + 1..];
        }
    });
    assert!(usual > 50 && unusual > 50, "{usual} {unusual}");
}
