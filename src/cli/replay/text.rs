//! A replay for people: figures by policy, then what was decided and why.

use super::over_time::picture;
use crate::cli::output::{flush_right, table};
use crate::cli::report::when::written;
use crate::core::settings::Target;
use crate::sim::replay::history::Others;
use crate::sim::replay::{Decision, Replay, Summary, Track};

const HEADING: [&str; 10] =
    ["policy", "requests", "over %", "over min", "p50 ms", "p95 ms", "p99 ms", "failed", "server-h", "moves"];

/// All of it; of each policy's decisions so many.
pub(super) fn text(replay: &Replay, others: &Others, decisions: usize) -> String {
    let mut text = head(replay, others);
    let heading = HEADING.map(str::to_owned).to_vec();
    let rows = replay.tracks().map(|track| row(track));
    text += &table(&flush_right([heading].into_iter().chain(rows).collect()));
    text.push('\n');
    for note in &replay.notes {
        text += &format!("{note}\n");
    }
    text += &picture(replay);
    for track in &replay.policies {
        text += &timeline(replay, track, decisions);
    }
    text
}

fn head(replay: &Replay, others: &Others) -> String {
    let (from, to) = (replay.begins.seconds(), replay.civil(replay.length_s - 1.0).seconds());
    let mut head = format!(
        "backend {}: {} to {}, {} requests, {} servers; target {}\n",
        replay.backend,
        written(from),
        written(to),
        replay.learned.requests,
        replay.servers.len(),
        target(&replay.target),
    );
    if others.unparsed > 0 {
        head += &format!("{} of {} lines were not understood\n", others.unparsed, others.lines);
    }
    head + "\n"
}

/// `p95 of Tt below 250 ms`.
pub(super) fn target(target: &Target) -> String {
    format!("{} of {} below {} ms", target.statistic, target.timer.name(), target.below.as_millis())
}

fn row(track: &Track) -> Vec<String> {
    let Summary { requests, failed, over_s, p50_ms, p95_ms, p99_ms, moves, .. } = track.summary;
    let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
    vec![
        track.name.clone(),
        requests.to_string(),
        format!("{:.2}", 100.0 * track.summary.over_share()),
        format!("{:.1}", over_s / 60.0),
        ms(p50_ms),
        ms(p95_ms),
        ms(p99_ms),
        failed.to_string(),
        format!("{:.2}", track.summary.server_hours()),
        moves.to_string(),
    ]
}

fn timeline(replay: &Replay, track: &Track, most: usize) -> String {
    let all = &track.decisions;
    if most == 0 || all.is_empty() {
        return String::new();
    }
    let how_many =
        if all.len() > most { format!("the first {most} of {}", all.len()) } else { all.len().to_string() };
    let mut text = format!("\ndecisions of {}: {how_many}\n", track.name);
    let heading = ["time", "decision", "servers", "were", "reason"].map(str::to_owned).to_vec();
    let rows = all.iter().take(most).map(|decision| line(replay, decision));
    text += &table(&[heading].into_iter().chain(rows).collect::<Vec<_>>());
    text
}

fn line(replay: &Replay, decision: &Decision) -> Vec<String> {
    let refused = decision.refused.as_ref().map(|refused| format!(" (not done: {refused})"));
    vec![
        written(replay.civil(decision.at_s).seconds()),
        decision.decision.replace('_', " "),
        if decision.from == decision.to {
            decision.to.to_string()
        } else {
            format!("{} -> {}", decision.from, decision.to)
        },
        replay.servers_were(decision.at_s).to_string(),
        decision.reason.clone() + &refused.unwrap_or_default(),
    ]
}
