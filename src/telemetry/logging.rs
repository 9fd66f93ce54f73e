//! Where log events go: standard error, as text for people or as one JSON object a line.

use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends the events of this program to standard error, from now on; of the libraries below it only
/// their warnings. A second call does nothing. An event that cannot be written is lost; telling so on
/// the same standard error would end the agent.
pub fn init(level: Level, json: bool) {
    let events = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let events = if json { events.json().flatten_event(true).boxed() } else { events.boxed() };
    let ours =
        Targets::new().with_target(env!("CARGO_CRATE_NAME"), level).with_default(level.min(Level::WARN));
    // It fails only where a subscriber is installed already, as in tests.
    let _ = tracing_subscriber::registry().with(events.with_filter(ours)).try_init();
}
