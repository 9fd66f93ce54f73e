//! What happened over time, as a picture made of characters: requests, servers and lateness of each track.

use crate::cli::picture::{bar, row};
use crate::sim::replay::{Point, Replay, Track};

/// Columns of the picture, at most.
const WIDTH: usize = 100;

/// The picture; empty if there is nothing to be seen in it.
pub(super) fn picture(replay: &Replay) -> String {
    let points = &replay.actual.points;
    let each = points.len().div_ceil(WIDTH).max(1);
    if points.len() < 2 {
        return String::new();
    }
    let arrivals: Vec<u64> = points.chunks(each).map(requests).collect();
    let most = arrivals.iter().copied().max().unwrap_or(0);
    let mut text = format!(
        "\nover time, each column {}; late where the target was missed\n",
        span(replay.step_s * each as f64)
    );
    text += &row("requests", arrivals.iter().map(|&requests| bar(requests, most)));
    let pool = replay.servers.len() as u64;
    for track in replay.tracks().filter(|track| track.name != replay.check.name) {
        text += &rows(track, each, pool, replay.missed_share());
    }
    text
}

/// The rows of one track, of `pool` servers; late is where more than this share of the requests was over.
fn rows(track: &Track, each: usize, pool: u64, missed: f64) -> String {
    let servers = |some: &[Point]| {
        let mean = some.iter().map(|point| point.serving).sum::<f64>() / some.len().max(1) as f64;
        bar(mean.round() as u64, pool)
    };
    let late = |some: &[Point]| {
        let over: u64 = some.iter().map(|point| point.over).sum();
        let all = requests(some);
        if over as f64 > missed * all as f64 { bar(over, all) } else { ' ' }
    };
    format!(
        "{}\n{}{}",
        track.name,
        row("servers", track.points.chunks(each).map(servers)),
        row("late", track.points.chunks(each).map(late))
    )
}

fn requests(some: &[Point]) -> u64 {
    some.iter().map(|point| point.requests).sum()
}

/// `15 min`, or `30 s`.
fn span(seconds: f64) -> String {
    if seconds >= 120.0 { format!("{:.0} min", seconds / 60.0) } else { format!("{seconds:.0} s") }
}
