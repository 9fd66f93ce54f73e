//! What a line costs: time, bytes and allocations, from text to fields and to samples.
//!
//! `cargo bench --bench parse`. Nothing may be allocated for a line: the columns of the
//! allocation profiler are empty for `fields`, and show the batch's vector alone for `samples`.

use std::time::Instant;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use haproxy_autoscale::core::log::custom::CustomFormat;
use haproxy_autoscale::core::log::envelope::body_offset;
use haproxy_autoscale::core::log::fast::FastReader;
use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::framing::{Frame, Framing};
use haproxy_autoscale::core::log::reader::{Batch, Reader};
use haproxy_autoscale::core::log::recent::Recent;
use haproxy_autoscale::core::names::Names;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// As many as fit in the processor's second-level cache, like the chunks of a live log do.
const LINES: u32 = 1_000;

/// How much is read from a file at once.
const CHUNK_BYTES: usize = 64 * 1024;

fn main() {
    divan::main();
}

/// A log whose lines have the given header and body, with the variety a real one has.
fn log(line: impl Fn(u32) -> String) -> Vec<u8> {
    (0..LINES).map(|number| line(number) + "\n").collect::<String>().into_bytes()
}

fn httplog(number: u32) -> String {
    let (ms, server, took) = (number % 1_000, number % 10, number * 7 % 300);
    format!(
        "Nov 21 09:31:50 lb1 haproxy[20463]: 10.1.{server}.7:5{ms:04} [21/Nov/2026:09:31:50.{ms:03}] https~ app/app{server} \
         0/0/1/{took}/{} 200 {} - - ---- 215/210/12/{server}/0 0/0 \"GET /catalogue/items/{number}?page=2&sort=price HTTP/1.1\"",
        took + 2,
        1_000 + number
    )
}

fn captures(number: u32) -> String {
    httplog(number).replace(" \"GET", " {shop.example|Mozilla/5.0 (X11; Linux x86_64)} {nginx} \"GET")
}

fn cookies(number: u32) -> String {
    captures(number).replace(" - - ", " SESSION=0123456789abcdef - ")
}

fn tcplog(number: u32) -> String {
    let (ms, server) = (number % 1_000, number % 10);
    format!(
        "Nov 21 09:31:50 lb1 haproxy[20463]: 10.1.{server}.7:5{ms:04} [21/Nov/2026:09:31:50.{ms:03}] sql sql/db{server} \
         1/0/{number} 2048 -- 12/11/10/{server}/0 0/0"
    )
}

fn read_all(bencher: Bencher<'_, '_>, text: &[u8], mut format: LineFormat) {
    let counters = (ItemsCount::new(LINES), BytesCount::new(text.len()));
    bencher.counter(counters.0).counter(counters.1).bench_local(|| {
        let mut requests = 0;
        Framing::default().push(text, |frame| {
            if let Frame::Line(line) = frame
                && let Line::Request(request) = format.read(black_box(line))
            {
                requests += u32::from(black_box(&request).status.is_none_or(|status| status < 600));
            }
        });
        assert_eq!(requests, LINES);
    });
}

/// From bytes to lines, without looking into them.
#[divan::bench]
fn framing(bencher: Bencher<'_, '_>) {
    let text = log(httplog);
    let mut framing = Framing::default();
    bencher.counter(ItemsCount::new(LINES)).counter(BytesCount::new(text.len())).bench_local(|| {
        let mut lines = 0;
        for chunk in text.chunks(CHUNK_BYTES) {
            framing.push(black_box(chunk), |frame| lines += u32::from(matches!(frame, Frame::Line(_))));
        }
        assert_eq!(lines, LINES);
    });
}

/// From a line to where HAProxy's own text begins.
#[divan::bench]
fn envelope(bencher: Bencher<'_, '_>) {
    let text = log(httplog);
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    bencher
        .counter(ItemsCount::new(LINES))
        .bench_local(|| lines.iter().map(|line| body_offset(black_box(line))).sum::<usize>());
}

/// The short way of `report`: names, timers and status.
#[divan::bench]
fn fast(bencher: Bencher<'_, '_>) {
    let mut text = log(httplog);
    let end = text.len();
    // The last lines need something behind them.
    text.extend_from_slice(&log(httplog)[..CHUNK_BYTES]);
    let mut reader = FastReader::default();
    bencher.counter(ItemsCount::new(LINES)).counter(BytesCount::new(end)).bench_local(|| {
        let (mut begin, mut lines) = (0, 0);
        while begin < end {
            // All lines of this log are as the short way knows them.
            let line = black_box(reader.read(black_box(&text[begin..]))).expect("a usual line");
            begin += line.length + 1;
            lines += 1;
        }
        assert_eq!(lines, LINES);
    });
}

/// From text to fields.
mod fields {
    use super::*;

    #[divan::bench]
    fn httplog(bencher: Bencher<'_, '_>) {
        read_all(bencher, &log(super::httplog), LineFormat::Auto);
    }

    #[divan::bench]
    fn httplog_with_captures(bencher: Bencher<'_, '_>) {
        read_all(bencher, &log(captures), LineFormat::Auto);
    }

    #[divan::bench]
    fn httplog_with_cookies(bencher: Bencher<'_, '_>) {
        read_all(bencher, &log(cookies), LineFormat::Auto);
    }

    #[divan::bench]
    fn tcplog(bencher: Bencher<'_, '_>) {
        read_all(bencher, &log(super::tcplog), LineFormat::Auto);
    }

    #[divan::bench]
    fn custom(bencher: Bencher<'_, '_>) {
        let pattern = r"\] \S+ (?P<backend>[^/ ]+)/(?P<server>\S+) \d+/\d+/\d+/(?P<Tr>\d+)/(?P<Ta>\d+) (?P<status>\d+) ";
        // A constant, and the tests of `core::log::custom` hold such patterns good.
        let format = CustomFormat::new(pattern).expect("a good regex");
        read_all(bencher, &log(super::httplog), LineFormat::Custom(Box::new(format)));
    }
}

/// From text to samples, by chunks, as the agent does it.
#[divan::bench]
fn samples(bencher: Bencher<'_, '_>) {
    let text = log(httplog);
    let mut reader = Reader::new(Names::default(), LineFormat::Auto);
    reader.remember_in(Recent::new());
    let mut batch = Batch::default();
    let arrived = Instant::now();
    // Names and memory are there once the log has been running for a while.
    reader.read(&text, arrived, &mut batch);
    bencher.counter(ItemsCount::new(LINES)).counter(BytesCount::new(text.len())).bench_local(|| {
        batch.clear();
        for chunk in text.chunks(CHUNK_BYTES) {
            reader.read(black_box(chunk), arrived, &mut batch);
        }
        // They are the same each time.
        assert_eq!(batch.samples.len() + batch.repeats.len(), LINES as usize);
    });
}
