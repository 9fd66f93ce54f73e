//! The picture: latency, servers, decisions and arrivals over the same time, as one SVG.
//!
//! It is as wide as the page: what is drawn as lines is stretched to it, and what is written keeps its size, because
//! it is placed by shares of the width.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::axis::{Latencies, counts, duration, times};
use super::series::{Stretch, each, stretches};
use super::{escaped, refused, servers, tracks};
use crate::cli::report::when::written;
use crate::sim::replay::{Decision, Replay, Track};

/// Heights and gaps, pixels.
const LATENCY: f64 = 220.0;
const SERVERS: f64 = 150.0;
const ARRIVALS: f64 = 70.0;
const LANE: f64 = 20.0;
const HEADING: f64 = 22.0;
const GAP: f64 = 16.0;
/// Lines are drawn on a canvas of this width, and stretched.
const WIDTH: f64 = 1000.0;

/// The marks of decisions, to be referred to.
const MARKS: &str = "<defs>\
    <path id=\"scale_up\" d=\"M-4.5 0L4.5 0L0 -9Z\" />\
    <path id=\"scale_down\" d=\"M-4.5 0L4.5 0L0 9Z\" />\
    <circle id=\"reweigh\" r=\"2.5\" />\
    <path id=\"scale_up-thin\" d=\"M-0.8 0H0.8V-9H-0.8Z\" />\
    <path id=\"scale_down-thin\" d=\"M-0.8 0H0.8V9H-0.8Z\" />\
    <circle id=\"reweigh-thin\" r=\"1\" />\
    </defs>\n";

/// More marks in a lane are thin, or they would be a band.
const MANY: usize = 200;

/// One track as it is drawn.
struct Drawn<'a> {
    colour: usize,
    track: &'a Track,
    stretches: Vec<Stretch>,
}

/// What has been drawn so far, and where the next part begins.
struct Canvas<'a> {
    replay: &'a Replay,
    drawn: Vec<Drawn<'a>>,
    svg: String,
    /// What is written on top of the part that is being drawn.
    labels: String,
    y: f64,
}

/// The picture with what the script needs.
pub(super) fn figure(replay: &Replay) -> String {
    let each = each(replay.actual.points.len());
    let drawn = tracks(replay).map(|(colour, track)| {
        let stretches = stretches(&track.points, each, replay.step_s);
        Drawn { colour, track, stretches }
    });
    let mut canvas =
        Canvas { replay, drawn: drawn.collect(), svg: String::new(), labels: String::new(), y: 0.0 };
    canvas.latency();
    canvas.servers();
    canvas.decisions();
    canvas.arrivals();
    let times = canvas.times();
    let span_s = each as f64 * replay.step_s;
    format!(
        "<figure>\n<svg class=\"picture\" width=\"100%\" height=\"{:.0}\" role=\"img\" \
         aria-label=\"Latency, servers, decisions and arrivals over time\">\n{MARKS}{times}{}\
         <line class=\"cursor\" y1=\"0\" y2=\"{:.0}\" />\n</svg>\n<div class=\"readout\" hidden=\"hidden\"></div>\n\
         <script type=\"application/json\">{}</script>\n<figcaption>All figures are means of {} each; \
         latency is on a logarithmic scale.</figcaption>\n</figure>\n",
        canvas.y + HEADING,
        canvas.svg,
        canvas.y,
        data(&canvas, span_s),
        duration(span_s * 1e3),
    )
}

impl Canvas<'_> {
    fn latency(&mut self) {
        let target = self.replay.target;
        let limit = target.below.as_secs_f64() * 1e3;
        let known = self.drawn.iter().flat_map(|drawn| drawn.stretches.iter().filter_map(|its| its.p95_ms));
        let axis = Latencies::of(known, limit);
        self.heading(&format!("p95 of {}", target.timer.name()));
        let top = self.y;
        for ms in axis.marks() {
            self.level(top + axis.place(ms) * LATENCY, &duration(ms));
        }
        let line = |drawn: &Drawn<'_>| {
            let place = |its: &Stretch| its.p95_ms.map(|ms| axis.place(ms) * LATENCY);
            drawn.path(&line(&drawn.stretches, place))
        };
        let lines: String = self.drawn.iter().rev().map(line).collect();
        self.stretched(LATENCY, &lines);
        let y = top + axis.place(limit) * LATENCY;
        let _ = write!(
            self.svg,
            "<line class=\"target\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\" />\n\
             <text class=\"target\" x=\"100%\" y=\"{:.1}\" text-anchor=\"end\">target {} below {}</text>\n",
            y - 4.0,
            escaped(&target.statistic.to_string()),
            duration(limit),
        );
        self.y += GAP;
    }

    fn servers(&mut self) {
        self.heading("servers serving");
        let all = self.drawn.iter().flat_map(|drawn| drawn.stretches.iter().map(|its| its.serving));
        let high = all.fold(1.0, f64::max) * 1.08;
        let top = self.y;
        for count in counts(high, 4) {
            self.level(top + (1.0 - count / high) * SERVERS, &format!("{count:.0}"));
        }
        let place = |its: &Stretch| Some((1.0 - its.serving / high) * SERVERS);
        let actual = area(&self.drawn[0].stretches, place, SERVERS);
        let mut lines = format!("<path class=\"area t0\" d=\"{actual}\" />\n");
        for drawn in self.drawn.iter().rev() {
            lines += &drawn.path(&steps(&drawn.stretches, place));
        }
        self.stretched(SERVERS, &lines);
        self.y += GAP;
    }

    /// A lane for each policy that tells its decisions.
    fn decisions(&mut self) {
        let replay = self.replay;
        let told = |drawn: &&Drawn<'_>| !drawn.track.decisions.is_empty();
        let lanes: Vec<(usize, &Track)> =
            self.drawn.iter().filter(told).map(|drawn| (drawn.colour, drawn.track)).collect();
        for (colour, track) in lanes {
            let middle = self.y + HEADING + LANE / 2.0;
            let marks: String = track.decisions.iter().map(|its| mark(replay, track, its, middle)).collect();
            let _ = write!(
                self.svg,
                "<g class=\"t{colour} c{colour}\">\n<text y=\"{:.1}\">decisions of {}</text>\n\
                 <line class=\"lane\" x1=\"0\" x2=\"100%\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" />\n{marks}</g>\n",
                self.y + 14.0,
                escaped(&track.name),
            );
            self.y += HEADING + LANE + GAP / 2.0;
        }
        self.y += GAP / 2.0;
    }

    fn arrivals(&mut self) {
        self.heading("requests a second");
        let rates = self.drawn[0].stretches.iter().map(|its| its.rate);
        let high = rates.fold(0.1, f64::max) * 1.25;
        let top = self.y;
        for rate in counts(high, 3) {
            self.level(top + (1.0 - rate / high) * ARRIVALS, &format!("{rate:.0}"));
        }
        let place = |its: &Stretch| Some((1.0 - its.rate / high) * ARRIVALS);
        let shape = format!(
            "<path class=\"arrivals\" d=\"{}\" />\n",
            area(&self.drawn[0].stretches, place, ARRIVALS)
        );
        self.stretched(ARRIVALS, &shape);
    }

    /// Lines down the picture, and what time that is.
    fn times(&self) -> String {
        let mark = |(share, text): (f64, String)| {
            let (x, y) = (100.0 * share, self.y);
            let anchor = match share {
                ..0.03 => "start",
                0.97.. => "end",
                _ => "middle",
            };
            format!(
                "<line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"0\" y2=\"{y:.0}\" />\n\
                 <text x=\"{x:.2}%\" y=\"{:.0}\" text-anchor=\"{anchor}\">{text}</text>\n",
                y + 16.0
            )
        };
        times(self.replay.begins.seconds(), self.replay.length_s).into_iter().map(mark).collect()
    }

    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.svg, "<text class=\"heading\" y=\"{:.0}\">{text}</text>", self.y + 14.0);
        self.y += HEADING;
    }

    /// A line across the picture, and what it stands for.
    fn level(&mut self, y: f64, text: &str) {
        let _ =
            writeln!(self.svg, "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\" />");
        let _ = writeln!(self.labels, "<text y=\"{:.1}\">{text}</text>", y - 3.0);
    }

    /// Lines that are stretched to the width of the page, and the labels on top of them.
    fn stretched(&mut self, height: f64, lines: &str) {
        let _ = write!(
            self.svg,
            "<svg y=\"{:.1}\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             preserveAspectRatio=\"none\">\n{lines}</svg>\n{}",
            self.y,
            std::mem::take(&mut self.labels)
        );
        self.y += height;
    }
}

impl Drawn<'_> {
    fn path(&self, d: &str) -> String {
        format!("<path class=\"line t{0} c{0}\" d=\"{d}\" />\n", self.colour)
    }
}

/// Where the `n`-th of so many begins.
fn x(n: usize, of: usize) -> f64 {
    WIDTH * n as f64 / of.max(1) as f64
}

/// From middle to middle; where there is no figure, the line is broken.
fn line(stretches: &[Stretch], place: impl Fn(&Stretch) -> Option<f64>) -> String {
    let (mut d, mut is_drawing) = (String::new(), false);
    for (n, its) in stretches.iter().enumerate() {
        let Some(y) = place(its) else {
            is_drawing = false;
            continue;
        };
        let (from, until) = (x(n, stretches.len()), x(n + 1, stretches.len()));
        // What stands alone is still a dash.
        let begin = if is_drawing { 'L' } else { 'M' };
        let at = if is_drawing { (from + until) / 2.0 } else { from };
        let _ = write!(d, "{begin}{at:.1} {y:.1}");
        if !is_drawing {
            let _ = write!(d, "L{:.1} {y:.1}", (from + until) / 2.0);
        }
        is_drawing = true;
    }
    d
}

/// Level for each stretch.
fn steps(stretches: &[Stretch], place: impl Fn(&Stretch) -> Option<f64>) -> String {
    let (mut d, mut before) = (String::new(), None);
    for (n, its) in stretches.iter().enumerate() {
        let Some(y) = place(its) else { continue };
        // Nothing is written where nothing changes.
        if before == Some(format!("{y:.1}")) {
            continue;
        }
        let from = x(n, stretches.len());
        let _ = match before {
            None => write!(d, "M{from:.1} {y:.1}"),
            Some(_) => write!(d, "H{from:.1}V{y:.1}"),
        };
        before = Some(format!("{y:.1}"));
    }
    d + &format!("H{WIDTH}")
}

/// The same, down to the bottom.
fn area(stretches: &[Stretch], place: impl Fn(&Stretch) -> Option<f64>, height: f64) -> String {
    format!("{}V{height}H0Z", steps(stretches, place))
}

/// One decision; what is said of it shows under the pointer.
fn mark(replay: &Replay, track: &Track, decision: &Decision, y: f64) -> String {
    let refused = refused(decision);
    let thin = if track.decisions.len() > MANY { "-thin" } else { "" };
    let class = if refused.is_some() { " class=\"refused\"" } else { "" };
    let about = format!(
        "{} {}: {}, servers {}\n{}{}",
        written(replay.civil(decision.at_s).seconds()).replace('T', " "),
        track.name,
        decision.decision.replace('_', " "),
        servers(decision),
        decision.reason,
        refused.map(|refused| format!(" ({refused})")).unwrap_or_default(),
    );
    format!(
        "<use href=\"#{}{thin}\" x=\"{:.2}%\" y=\"{y:.1}\"{class}><title>{}</title></use>\n",
        decision.decision,
        100.0 * (decision.at_s / replay.length_s).clamp(0.0, 1.0),
        about.split('\n').map(escaped).collect::<Vec<_>>().join("\n"),
    )
}

/// What shows under the pointer, for the script.
fn data(canvas: &Canvas<'_>, span_s: f64) -> String {
    let tenths = |figure: f64| (figure * 10.0).round() / 10.0;
    let track = |drawn: &Drawn<'_>| {
        let p95 = drawn.stretches.iter().map(|its| its.p95_ms.map(f64::round));
        let servers = drawn.stretches.iter().map(|its| tenths(its.serving));
        json!({
            "name": drawn.track.name,
            "colour": drawn.colour,
            "p95": p95.collect::<Vec<_>>(),
            "servers": servers.collect::<Vec<_>>(),
        })
    };
    let rates = canvas.drawn[0].stretches.iter().map(|its| tenths(its.rate));
    let data: Value = json!({
        "begins": canvas.replay.begins.seconds(),
        "span": span_s,
        "length": canvas.replay.length_s,
        "rates": rates.collect::<Vec<_>>(),
        "tracks": canvas.drawn.iter().map(track).collect::<Vec<_>>(),
    });
    // A name cannot end the element it stands in.
    data.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
