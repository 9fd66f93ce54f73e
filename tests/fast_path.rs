//! The short way through a line against the long way: where the short way says something, both say the same.

use std::fs;
use std::path::Path;

use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::line::LogLine;
use haproxy_autoscale::core::settings::Timer;
use proptest::prelude::*;
use support::short_way::{Found, NEXT, check};

mod support;

fn fixtures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lines");
    let mut logs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    let text: Vec<u8> = logs.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[test]
fn most_lines_of_a_real_haproxy_are_read_the_short_way() {
    let lines = fixtures();
    let is_short = |line: &LogLine<'_>| {
        !line.is_tcp()
            && !line.partial
            && line.termination_state.is_some_and(|state| state.len() == 4)
            && line.request_cookie == Some(b"-")
            && line.response_cookie == Some(b"-")
    };
    let is_usual = |line: &LogLine<'_>| {
        let ended_well = line.termination_state.is_some_and(|state| state.starts_with(b"--"));
        is_short(line) && ended_well && line.timers.get(Timer::Tr).is_some() && line.status != Some(101)
    };
    let count = |is: &dyn Fn(&LogLine<'_>) -> bool| {
        let is = |line: &&Vec<u8>| matches!(LineFormat::Auto.read(line), Line::Request(line) if is(&line));
        lines.iter().filter(is).count()
    };
    let (usual, all) = (count(&is_usual), count(&is_short));
    let found = check(&lines);
    assert!(found.usual * 10 >= usual * 8, "{found:?} of {usual} usual ones");
    assert!((found.usual + found.unusual) * 10 >= all * 8, "{found:?} of {all}");
}

#[test]
fn what_a_line_is_cut_off_is_not_made_up() {
    let whole = &NEXT.as_bytes()[..NEXT.len() - 1];
    assert_eq!(check(&[whole.to_vec()]), Found { usual: 1, unusual: 0 });
    let figures_end = NEXT.find("\"GET").unwrap();
    for end in 0..figures_end {
        assert_eq!(check(&[whole[..end].to_vec()]), Found::default(), "{}", whole[..end].escape_ascii());
    }
}

#[test]
fn a_date_without_its_point_has_no_milliseconds() {
    let whole = NEXT.trim_end();
    let damaged = whole.replacen(":51.000]", ":51 191]", 1);
    assert_ne!(damaged, whole);
    assert_eq!(check(&[whole.into(), damaged.into_bytes()]), Found { usual: 1, unusual: 0 });
}

/// Lines that are the same but for their syslog header, each of which differs from the one before.
#[test]
fn headers_that_differ_from_line_to_line_are_known_again() {
    #[track_caller]
    fn check_all(header: impl Fn(usize) -> String) {
        let body = NEXT.trim_end().split_once("]: ").unwrap().1;
        let lines: Vec<Vec<u8>> =
            (0..40).map(|number| format!("{}{body}", header(number)).into_bytes()).collect();
        assert_eq!(check(&lines), Found { usual: 40, unusual: 0 });
    }
    check_all(|_| "Nov 21 09:31:50 lb haproxy[1]: ".to_owned());
    check_all(|number| format!("2026-11-21T09:31:50.{number:06}+00:00 lb haproxy[1]: "));
    check_all(|number| format!("<134>1 2026-11-21T09:31:50.{number:06}+00:00 lb haproxy 1 - - "));
    check_all(|number| format!("Nov 21 09:31:50 lb{} haproxy[{number}]: ", number % 7));
    check_all(|number| format!("2026-11-21T09:31:50.{number:09}Z stdout F "));
}

/// What a line is made of, usual and strange; one line of all parts that are usual is read the short way.
fn part(
    usual: &'static [&'static str],
    strange: &'static [&'static str],
) -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => prop::sample::select(usual), 1 => prop::sample::select(strange)]
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let header = part(
        &[
            "",
            "Nov 21 09:31:50 lb haproxy[1]: ",
            "<134>Nov 21 09:31:50 haproxy[1]: ",
            "2026-11-21T09:31:50.000001+00:00 lb haproxy[1]: ",
            "2026-11-21T09:31:50.987654+00:00 lb haproxy[1]: ",
        ],
        &[
            "<134>",
            "<6>2026-11-21T09:31:50+00:00 ",
            "2026-11-21T09:55 ",
            "<134>1 2026-11-21T09:31:50+00:00 - haproxy 1 - - ",
            "a: ",
            "\u{feff}",
            "2026-11-21T09:36:03Z stdout F ",
            "2026-11-21T09:31:5=.98765<+00:00 lb haproxy[1]: ",
            "2026-11-21T09:31:50. 87654+00:00 lb haproxy[1]: ",
            "Nov 21 09:31:50 another haproxy[2]: ",
            "{\"log\":\"",
            "{\"log\":\"\",\"x\":\"",
        ],
    );
    let client = part(
        &["10.0.0.1:50000", "2001:db8::9:65535", "1.2.3.4:5", "unix:1"],
        &[
            "10.0.0.1:65536",
            "10.0.0.1:99999",
            "10.0.0.1",
            "-:-",
            "2026-11-21T09:55",
            "<3>a:1",
            "x:1x1",
            "a\tb:1",
            "haproxy[1]:",
        ],
    );
    let date = part(
        &["[21/Nov/2026:09:31:50.191]", "[21/Nov/2026:09:32:59.999]"],
        &[
            "[21/Nov/2026:09:31:60.191]",
            "[21/Nov/2026:09:31:61.191]",
            "[31/Foo/2026:09:31:50.191]",
            "[21/Nov/2026:09:31:5x.191]",
            "[21/Nov/2026:09:31:50]",
            "[21/Nov/2026:09:31:50 191]",
            "[21/Nov/2026:25:31:50.191]",
            "[21/Nov/2026:09:31:50,191]",
        ],
    );
    let frontend = part(
        &["fe", "https~"],
        &["<OCSP>", "fe:", "fe/1:", "", "f\ne", "a_frontend_with_a_name_of_more_than_thirty_two_bytes"],
    );
    let names = part(
        &["be/s1", "backend-with-a-name/and-a-server", "b/<NOSRV>"],
        &["be", "be/", "/s", "b\"e/s", "be/s/t", "be/s\rt"],
    );
    let timers = part(
        &["0/0/0/1/1", "10/20/30/400/500", "0/0/1/1234567/1234567"],
        &[
            "0/0/0/-1/7",
            "0/-1/-1/-1/7",
            "-1/-1/-1/-1/-1",
            "0/-2/0/1/1",
            "0/-/0/1/1",
            "0/1-1/0/1/1",
            "0/--1/0/1/1",
            "0/0/0/1/+1",
            "0/0/0/12345678/12345678",
            "0//0/1/1",
            "0/0/0/1",
            "0/0/0/1/1/1",
            "0/0/0/1/ 1",
            "x/0/0/1/1",
            "0/0 0/1/1",
        ],
    );
    let status =
        part(&["200", "404", "503"], &["-1", "-1", "-2", "0", "99", "101", "1000", "20x", "099", ""]);
    let bytes = part(&["0", "1234567"], &["+7", "-7", "999999999999999999", "1000000000000000000", "", "7x"]);
    let cookies = part(&["- -"], &["-  -", "a=b -", "- c=d", "--"]);
    let state = part(
        &["----", "--NI"],
        &["--", "SC--", "sQ--", "cD--", "LR--", "PH--", "---", "-----", "--1-", "-- -"],
    );
    let counters = part(
        &["1/1/0/0/0", "1234567/7/6/5/4"],
        &[
            "1/1/0/0/+1",
            "1/1/0/0",
            "1/1/0/0/0/0",
            "1/1/0/12345678/0",
            "1/1/0/99999999999/0",
            "1/1//0/0",
            "1/1/0/0/",
        ],
    );
    let queues = part(&["0/0", "12/345"], &["0", "0/0/0", "/0", "0/x", "0/0x", "0/0\n"]);
    let tail =
        part(&[" \"GET / HTTP/1.1\"", " {a|b} {c} \"GET / HTTP/1.1\""], &["", " ", "\r", " \"GE", " \u{e9}"]);
    let head = (header, client, date, frontend, names);
    let figures = (timers, status, bytes, cookies, state, counters, queues, tail);
    (head, figures).prop_map(|((header, client, date, frontend, names), figures)| {
        let (timers, status, bytes, cookies, state, counters, queues, tail) = figures;
        format!("{header}{client} {date} {frontend} {names} {timers} {status} {bytes} {cookies} {state} {counters} {queues}{tail}").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_ways_agree_on_lines_of_any_parts(lines in proptest::collection::vec(line(), 1..12)) {
        check(&lines);
    }

    #[test]
    fn both_ways_agree_on_damaged_lines(
        lines in proptest::collection::vec(line(), 1..4),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), b' '..=b':'], 0u8..4), 0..6),
    ) {
        let mut lines = lines;
        for line in &mut lines {
            for &(at, byte, how) in &damage {
                let at = at.index(line.len().max(1));
                match how {
                    0 if at < line.len() => line[at] = byte,
                    1 => line.insert(at, byte),
                    2 if at < line.len() => drop(line.remove(at)),
                    _ => line.truncate(at),
                }
            }
        }
        check(&lines);
    }
}
