//! What is being done about a server right now, and until when at most, in words.

use std::time::Duration;

use crate::core::controller::ServerView;
use crate::core::plan::inventory::AdminState;
use crate::core::plan::outcome::KeptBy;
use crate::core::plan::step::Step;
use crate::core::policy::Span;

/// `drains: MAINT in 12 s at most`; `None`: nothing that lasts.
pub fn words(server: &ServerView) -> Option<String> {
    let sessions = match server.state.sessions {
        0 => "no session".to_owned(),
        1 => "1 session".to_owned(),
        n => format!("{n} sessions"),
    };
    let Some((step, since)) = &server.step else {
        let goes_on = server.state.state() == AdminState::Maint && server.state.sessions > 0;
        let end = || match server.closes_in {
            Some(left) => format!("closed in {}", Span(left)),
            None => "until they end by themselves".to_owned(),
        };
        return goes_on.then(|| format!("{sessions} still open, {}", end()));
    };
    let left = |within: &Duration| Span(within.saturating_sub(*since));
    match step {
        Step::AwaitHealthy { within, .. } => {
            Some(format!("starts: waits for its check, {} at most", left(within)))
        }
        Step::WarmUp { .. } => Some("starts: gets warm-up requests".to_owned()),
        Step::AwaitDrained { within, closed_after, .. } if server.kept == Some(KeptBy::OwnSessions) => {
            let left = closed_after.map(|after| within.saturating_add(after).saturating_sub(*since));
            Some(super::words::kept(server.kept.as_ref(), left.unwrap_or(Duration::MAX)))
        }
        Step::AwaitDrained { within, .. } if server.kept.is_some() => {
            Some(super::words::kept(server.kept.as_ref(), within.saturating_sub(*since)))
        }
        Step::AwaitDrained { at_least, within, .. } if since < at_least => {
            let until = left(within);
            Some(format!("no new requests, on trial for {}; MAINT in {until} at most", left(at_least)))
        }
        Step::AwaitDrained { within, .. } => {
            Some(format!("drains {sessions}; MAINT in {} at most", left(within)))
        }
        Step::Remove { .. } => Some("is being deleted".to_owned()),
        Step::ShutdownSessions { .. } => Some("its sessions are being closed".to_owned()),
        Step::Pause(_) => Some(match server.held {
            Some(held) => {
                format!(
                    "serves; slower or failing beyond the others: its weight stands still for {}",
                    Span(held)
                )
            }
            None => "serves; its weight rises".to_owned(),
        }),
        Step::SetWeights(_) | Step::Set { .. } | Step::SetAddress { .. } | Step::Add { .. } => None,
    }
}
