//! A proposal for people.

use super::proposal::{Proposal, Tried};
use crate::cli::output::{flush_right, table};

const HEADING: [&str; 6] = ["candidate", "over %", "p95 ms", "server-h", "moves", ""];

/// The lines, the reasons, the figures.
pub(super) fn text(proposal: &Proposal) -> String {
    let mut text = format!("backend {}\n\n", proposal.backend);
    text += &proposal.yaml();
    text.push('\n');
    let reasons = proposal.reasons.iter().map(|(key, reason)| vec![format!("{key}:"), reason.clone()]);
    text += &table(&reasons.collect::<Vec<_>>());
    text.push('\n');
    let heading = HEADING.map(str::to_owned).to_vec();
    let rows = proposal.trials.iter().map(row);
    text += &table(&flush_right([heading].into_iter().chain(rows).collect()));
    text += "over %: requests above the candidate's own target, or failed; server-h: hours of servers that start, serve or drain\n\n";
    for note in &proposal.notes {
        text += &format!("{note}\n");
    }
    text
}

fn row(tried: &Tried) -> Vec<String> {
    vec![
        format!("{} {}", tried.key, tried.value).trim_end().to_owned(),
        format!("{:.2}", 100.0 * tried.over),
        tried.p95_ms.map_or("-".to_owned(), |ms| format!("{ms:.0}")),
        format!("{:.2}", tried.server_hours),
        tried.moves.to_string(),
        if tried.chosen { "*".to_owned() } else { String::new() },
    ]
}
