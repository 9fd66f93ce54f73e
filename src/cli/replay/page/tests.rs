//! The page as a document: well-formed, self-contained, and nothing in it that a name could have put there.

use std::time::Duration;

use super::*;
use crate::core::settings::schedule::CivilTime;
use crate::core::settings::{Statistic, Target, Timer};
use crate::core::units::Percentile;
use crate::sim::replay::{Learned, Point, Summary, WorkersFrom};

/// A name that would be markup, wherever it stood.
const EVIL: &str = "a\"'></script><script>alert(1)</script>&amp;";

fn track(name: &str, shift: f64, decisions: usize) -> Track {
    let point = |n: usize| {
        let wave = (n as f64 / 60.0 + shift).sin();
        Point {
            from_s: 10.0 * n as f64,
            requests: (200.0 + 150.0 * wave) as u64,
            // Nobody comes for a while.
            p95_ms: (n % 97 > 3).then_some(180.0 * (1.2 + wave).exp()),
            serving: (3.0 + 2.0 * wave).round(),
            ..Point::default()
        }
    };
    let decision = |n: usize| Decision {
        at_s: 10_800.0 * (n as f64 + 0.5) / decisions as f64,
        decision: ["scale_up", "scale_down", "reweigh"][n % 3],
        from: 3,
        to: [5, 2, 3][n % 3],
        reason: format!("742 req/s x 80 ms = 59.4 busy workers; number {n} of {name}"),
        rule: "need",
        refused: (n % 50 == 7).then(|| "a check failed".to_owned()),
        next_move_s: None,
        latency_ms: None,
        rate: None,
    };
    Track {
        name: name.to_owned(),
        about: format!("what {name} is"),
        summary: Summary { requests: 1000, over: 34, server_s: 7200.0 * (1.0 + shift), ..Summary::default() },
        points: (0..1080).map(point).collect(),
        decisions: (0..decisions).map(decision).collect(),
    }
}

fn replay(name: &str, decisions: usize) -> Replay {
    Replay {
        backend: name.to_owned(),
        target: Target {
            timer: Timer::Tt,
            statistic: Statistic::Percentile(Percentile::P95),
            below: Duration::from_millis(400),
        },
        begins: CivilTime::new(1_795_154_400),
        length_s: 10_800.0,
        step_s: 10.0,
        servers: vec![name.to_owned()],
        learned: Learned {
            requests: 1_234_567,
            workers: 4,
            workers_from: WorkersFrom::Log,
            service_s: 0.08,
            in_turn: true,
            maxconn: None,
        },
        actual: track("as it was", 0.0, 0),
        check: track("the same, modelled", 0.1, 0),
        policies: vec![track(name, 0.3, decisions), track("threshold", 0.8, 40), track("all-on", 1.2, 0)],
        notes: vec![format!("Read from the log of {name}."), "Modelled.".to_owned()],
    }
}

fn page(name: &str, decisions: usize) -> String {
    document(&[replay(name, decisions)], &Others { lines: 9, unparsed: 2, ..Others::default() })
}

/// Every element is closed where it should be, every attribute is in quotes, and `&` begins a reference.
#[track_caller]
fn check_well_formed(page: &str) {
    let (mut open, mut rest) = (Vec::new(), page.strip_prefix("<!DOCTYPE html>").expect("a doctype"));
    while let Some(begin) = rest.find('<') {
        let (text, tag) = rest.split_at(begin);
        check_text(text);
        let (tag, after) = tag[1..].split_once('>').expect("a tag ends");
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap_or_default();
        check_text(tag);
        assert!(tag.matches('"').count() % 2 == 0, "{tag}");
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name), "{tag}"),
            (_, true) => {}
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[track_caller]
fn check_text(text: &str) {
    for (place, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(known.iter().any(|known| text[place..].starts_with(known)), "{}", &text[place..]);
    }
}

#[test]
fn the_page_is_well_formed_whatever_the_names_are() {
    check_well_formed(&page("app", 12));
    check_well_formed(&page(EVIL, 12));
}

#[test]
fn nothing_of_a_name_is_markup() {
    assert_eq!(escaped("a<b>&\"c'\u{7}\u{e9}"), "a&lt;b&gt;&amp;&quot;c&#39;\u{fffd}\u{e9}");
    let (evil, plain) = (page(EVIL, 3), page("app", 3));
    assert!(!evil.contains("<script>alert") && !evil.contains("</script><script>alert"));
    assert_eq!(evil.matches("<script").count(), plain.matches("<script").count());
    assert!(evil.contains("alert(1)"), "the name is shown all the same");
}

#[test]
fn the_page_fetches_nothing() {
    let page = page("app", 12);
    for word in ["http:", "https:", "src=", "url(", "@import", "//fonts", "fetch(", "import("] {
        assert!(!page.contains(word), "{word}");
    }
    let outside = page.match_indices("href=\"").filter(|(place, _)| !page[place + 6..].starts_with('#'));
    assert_eq!(outside.count(), 0);
}

#[test]
fn every_decision_has_a_mark_and_a_row_with_its_reason() {
    let page = page("app", 1000);
    assert_eq!(page.matches("<use href=").count(), 1040);
    let reason = "742 req/s x 80 ms = 59.4 busy workers; number 999 of app";
    assert_eq!(page.matches(reason).count(), 2, "under the pointer, and in the table");
    assert!(page.contains("not done: a check failed"));
}

#[test]
fn the_same_replay_is_the_same_page() {
    assert_eq!(page("app", 100), page("app", 100));
}

#[test]
fn a_log_of_a_second_has_a_page() {
    let mut short = replay("app", 0);
    let empty = || Track { points: vec![Point::default()], ..Track::default() };
    (short.length_s, short.step_s) = (1.0, 1.0);
    (short.actual, short.check, short.policies) = (empty(), empty(), Vec::new());
    let page = document(&[short], &Others::default());
    check_well_formed(&page);
    assert!(!page.contains("NaN") && !page.contains("inf%"), "{page}");
}

#[test]
fn large_numbers_are_grouped() {
    let numbers = [0, 12, 999, 1000, 1_234_567].map(grouped);
    assert_eq!(numbers, ["0", "12", "999", "1,000", "1,234,567"]);
}
