//! What lasts: whether changes are kept, and reloads.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Node, Seconds};
use crate::config::ReloadBy;
use crate::lasting::event::Event;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Result {
    node: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Done {
    node: String,
    by: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(super) struct LastingMetrics {
    not_kept: Family<Node, Gauge>,
    kept_time: Family<Node, Seconds>,
    keeps: Family<Result, Counter>,
    slots_added: Family<Node, Counter>,
    slots_not_added: Family<Node, Gauge>,
    reload_owed: Family<Node, Gauge>,
    reloads: Family<Done, Counter>,
    starts: Family<Done, Counter>,
}

impl LastingMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        let help = "1 while what was changed at run time could not be written down for this HAProxy";
        r.register("changes_not_kept", help, self.not_kept.clone());
        let help = "When all of it was written down last, in seconds of Unix time; 0: never";
        r.register("changes_kept_time_seconds", help, self.kept_time.clone());
        let help = "What became of changes: written, refused by HAProxy, failed otherwise";
        r.register("changes", help, self.keeps.clone());
        r.register("slots_added", "Slots added to haproxy.cfg", self.slots_added.clone());
        let help = "Slots that HAProxy was to get, and could not";
        r.register("slots_not_added", help, self.slots_not_added.clone());
        r.register(
            "haproxy_reload_owed",
            "1 while a reload of this HAProxy is owed and waits",
            self.reload_owed.clone(),
        );
        let help = "Reloads of HAProxy for changes that are to last, by whom: done, failed";
        r.register("haproxy_reloads", help, self.reloads.clone());
        r.register("haproxy_starts", "Starts of HAProxy by the agent: done, failed", self.starts.clone());
    }

    pub(super) fn begin(&self, node: &str) {
        let node = Node { node: node.to_owned() };
        self.not_kept.get_or_create(&node).set(0);
        self.kept_time.get_or_create(&node).set(0.0);
        self.slots_not_added.get_or_create(&node).set(0);
        self.reload_owed.get_or_create(&node).set(0);
    }

    pub(super) fn count(&self, event: &Event, node: &str, now_s: f64) {
        let of_node = Node { node: node.to_owned() };
        let node = || node.to_owned();
        let keep = |result| self.keeps.get_or_create(&Result { node: node(), result }).inc();
        let done = |by: Option<ReloadBy>, result| Done {
            node: node(),
            by: by.map_or("somebody_else", ReloadBy::name),
            result,
        };
        let reload = |by, result| {
            self.reloads.get_or_create(&done(by, result)).inc();
            self.reload_owed.get_or_create(&of_node).set(0);
        };
        match event {
            Event::Kept { changed, .. } => {
                self.not_kept.get_or_create(&of_node).set(0);
                self.kept_time.get_or_create(&of_node).set(now_s);
                if *changed {
                    keep("written");
                }
            }
            Event::NotKept { refused, .. } => {
                self.not_kept.get_or_create(&of_node).set(1);
                keep(if refused.is_some() { "refused" } else { "failed" });
            }
            Event::NoLine(_) => {}
            Event::SlotsAdded(slots) => {
                self.slots_added.get_or_create(&of_node).inc_by(slots.len() as u64);
                self.slots_not_added.get_or_create(&of_node).set(0);
            }
            Event::SlotsNotAdded { slots, refused, .. } => {
                self.slots_not_added.get_or_create(&of_node).set(slots.len() as i64);
                keep(if refused.is_some() { "refused" } else { "failed" });
            }
            Event::Owed { .. } => {
                self.reload_owed.get_or_create(&of_node).set(1);
            }
            Event::Reloaded { by, .. } => reload(*by, "done"),
            Event::NotReloaded { by, .. } => reload(Some(*by), "failed"),
            Event::Started { by, .. } => {
                self.starts.get_or_create(&done(Some(*by), "done")).inc();
            }
            Event::NotStarted { by, .. } => {
                self.starts.get_or_create(&done(Some(*by), "failed")).inc();
            }
        }
    }
}
