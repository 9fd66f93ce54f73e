//! A replay as one HTML page: figures, a picture over time, decisions with their reasons. It fetches nothing, and its
//! script only follows the pointer: without it nothing is missing but the figures under the pointer.
//!
//! All that comes from the log or the command line goes through [`escaped`].

use std::fmt::Write as _;

use super::text::target;
use crate::cli::report::when::written;
use crate::sim::replay::history::Others;
use crate::sim::replay::{Decision, Replay, Track};

mod axis;
mod picture;
mod series;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Tracks have so many colours, the first two among them; then they begin again.
const COLOURS: usize = 9;

/// All of it.
pub(super) fn document(replays: &[Replay], others: &Others) -> String {
    let names: Vec<String> = replays.iter().map(|replay| escaped(&replay.backend)).collect();
    let toggles: String = (0..COLOURS).map(toggle).collect();
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n\
         <title>Replay of {}</title>\n<style>\n{STYLE}{toggles}</style>\n</head>\n<body>\n",
        names.join(", ")
    );
    for replay in replays {
        page += &section(replay, others);
    }
    page + "<script>\n" + SCRIPT + "</script>\n</body>\n</html>\n"
}

/// A track that is not ticked in the table is not drawn.
fn toggle(colour: usize) -> String {
    format!(".replay:has(.k{colour}:not(:checked)) .t{colour} {{ display: none; }}\n")
}

/// With its place among the tracks.
fn tracks(replay: &Replay) -> impl Iterator<Item = (usize, &Track)> {
    // The first two are what was and the same modelled, whatever comes after.
    let colour = |place: usize| if place < 2 { place } else { 2 + (place - 2) % (COLOURS - 2) };
    replay.tracks().enumerate().map(move |(place, track)| (colour(place), track))
}

fn section(replay: &Replay, others: &Others) -> String {
    let mut html = String::from("<main class=\"replay\">\n");
    html += &header(replay, others);
    html += &summary(replay);
    html += &picture::figure(replay);
    html += &notes(replay);
    for (colour, track) in tracks(replay).filter(|(_, track)| !track.decisions.is_empty()) {
        html += &decisions(replay, colour, track);
    }
    html + "</main>\n"
}

fn header(replay: &Replay, others: &Others) -> String {
    let (from, to) =
        (written(replay.begins.seconds()), written(replay.civil(replay.length_s - 1.0).seconds()));
    let unparsed = match others.unparsed {
        0 => String::new(),
        lines => format!(" · {} of {} lines not understood", grouped(lines), grouped(others.lines)),
    };
    format!(
        "<header>\n<p class=\"kind\">Replay</p>\n<h1>{}</h1>\n<p>{} to {} · {} requests · {} servers{unparsed}</p>\n\
         <p>Target: {}</p>\n</header>\n",
        escaped(&replay.backend),
        from.replace('T', " "),
        to.replace('T', " "),
        grouped(replay.learned.requests),
        replay.servers.len(),
        escaped(&target(&replay.target)),
    )
}

const HEADING: [(&str, &str); 9] = [
    ("over target", "requests above the target's limit, or failed"),
    ("min over", "minutes in which the target was missed, by spans of 30 s"),
    ("p50", "median"),
    ("p95", "95th percentile"),
    ("p99", "99th percentile"),
    ("failed", "errors of servers, timeouts, no server"),
    ("server-h", "hours of starting, serving and draining servers"),
    ("most", "servers that served at a time, at most"),
    ("moves", "servers started or stopped"),
];

fn summary(replay: &Replay) -> String {
    let heading = |(name, about): &(&str, &str)| format!("<th scope=\"col\" title=\"{about}\">{name}</th>");
    let heading: String = HEADING.iter().map(heading).collect();
    let most = |of: fn(&Track) -> f64| replay.tracks().map(of).fold(0.0, f64::max);
    let most = (most(|track| track.summary.over_share()), most(|track| track.summary.server_s));
    let rows: String = tracks(replay).map(|(colour, track)| row(colour, track, most)).collect();
    format!(
        "<div class=\"scroll\">\n<table class=\"summary\">\n<thead><tr><th scope=\"col\">policy</th>{heading}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n</div>\n"
    )
}

/// `most`: the largest share over the target and the most server time of any track.
fn row(colour: usize, track: &Track, most: (f64, f64)) -> String {
    let summary = &track.summary;
    let ms = |ms: Option<f64>| ms.map_or("–".to_owned(), axis::duration);
    let bar = |share: f64, most: f64| if most > 0.0 { 100.0 * share / most } else { 0.0 };
    // What was, modelled, is there to be held against what was: in the table, and in the picture if asked for.
    let ticked = if colour == 1 { "" } else { " checked=\"checked\"" };
    let mut row = format!(
        "<tr class=\"c{colour}\"><th scope=\"row\" title=\"{}\"><label><input type=\"checkbox\" class=\"k{colour}\"{ticked} />\
         <i></i>{}</label></th>",
        escaped(&track.about),
        escaped(&track.name),
    );
    let mut cell = |text: String, bar: Option<f64>| {
        let style =
            bar.map(|percent| format!(" class=\"bar\" style=\"--bar:{percent:.1}%\"")).unwrap_or_default();
        let _ = write!(row, "<td{style}>{text}</td>");
    };
    cell(format!("{:.2} %", 100.0 * summary.over_share()), Some(bar(summary.over_share(), most.0)));
    cell(format!("{:.1}", summary.over_s / 60.0), None);
    cell(ms(summary.p50_ms), None);
    cell(ms(summary.p95_ms), None);
    cell(ms(summary.p99_ms), None);
    cell(grouped(summary.failed), None);
    cell(format!("{:.2}", summary.server_hours()), Some(bar(summary.server_s, most.1)));
    cell(summary.most_servers.to_string(), None);
    cell(grouped(summary.moves), None);
    row + "</tr>\n"
}

fn notes(replay: &Replay) -> String {
    let notes: String = replay.notes.iter().map(|note| format!("<li>{}</li>\n", escaped(note))).collect();
    format!(
        "<section class=\"notes\">\n<h2>What is read, what is modelled</h2>\n<ul>\n{notes}</ul>\n</section>\n"
    )
}

fn decisions(replay: &Replay, colour: usize, track: &Track) -> String {
    let rows: String = track.decisions.iter().map(|its| decision(replay, its)).collect();
    format!(
        "<details class=\"c{colour}\">\n<summary><i></i>{}: {} decisions</summary>\n<div class=\"scroll tall\">\n\
         <table class=\"decisions\">\n<thead><tr><th scope=\"col\">time</th><th scope=\"col\">decision</th>\
         <th scope=\"col\">servers</th><th scope=\"col\" title=\"servers that really were active\">were</th>\
         <th scope=\"col\">reason</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n</details>\n",
        escaped(&track.name),
        grouped(track.decisions.len() as u64),
    )
}

fn decision(replay: &Replay, decision: &Decision) -> String {
    let refused = refused(decision).map(|text| format!(" <em>{}</em>", escaped(&text))).unwrap_or_default();
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}{refused}</td></tr>\n",
        written(replay.civil(decision.at_s).seconds()).replace('T', " "),
        decision.decision.replace('_', " "),
        servers(decision),
        replay.servers_were(decision.at_s),
        escaped(&decision.reason),
    )
}

/// `3 → 5`, or `4` where their number stays.
fn servers(decision: &Decision) -> String {
    match decision {
        Decision { from, to, .. } if from == to => to.to_string(),
        Decision { from, to, .. } => format!("{from} → {to}"),
    }
}

fn refused(decision: &Decision) -> Option<String> {
    decision.refused.as_ref().map(|refused| format!("not done: {refused}"))
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As it may stand in an element or an attribute. What XML does not allow at all becomes a replacement character.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            control if control.is_control() => safe.push(char::REPLACEMENT_CHARACTER),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_is_markup() {
        assert_eq!(escaped("a<b>&\"c'\u{7}é"), "a&lt;b&gt;&amp;&quot;c&#39;\u{fffd}é");
    }

    #[test]
    fn large_numbers_are_grouped() {
        let numbers = [0, 12, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "12", "999", "1,000", "1,234,567"]);
    }
}
