//! What lasts: whether changes are kept, and reloads.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Seconds;
use crate::config::ReloadBy;
use crate::lasting::event::Event;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Done {
    by: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(super) struct LastingMetrics {
    not_kept: Gauge,
    kept_time: Seconds,
    keeps: Family<Result, Counter>,
    reload_owed: Gauge,
    reloads: Family<Done, Counter>,
    starts: Family<Done, Counter>,
}

impl LastingMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        let help = "1 while what was changed at run time could not be written down";
        r.register("changes_not_kept", help, self.not_kept.clone());
        let help = "When all of it was written down last, in seconds of Unix time; 0: never";
        r.register("changes_kept_time_seconds", help, self.kept_time.clone());
        let help = "What became of changes: written, refused by HAProxy, failed otherwise";
        r.register("changes", help, self.keeps.clone());
        r.register(
            "haproxy_reload_owed",
            "1 while a reload of HAProxy is owed and waits",
            self.reload_owed.clone(),
        );
        let help = "Reloads of HAProxy for changes that are to last, by whom: done, failed";
        r.register("haproxy_reloads", help, self.reloads.clone());
        r.register("haproxy_starts", "Starts of HAProxy by the agent: done, failed", self.starts.clone());
    }

    pub(super) fn count(&self, event: &Event, now_s: f64) {
        let keep = |result| self.keeps.get_or_create(&Result { result }).inc();
        let done =
            |by: Option<ReloadBy>, result| Done { by: by.map_or("somebody_else", ReloadBy::name), result };
        let reload = |by, result| {
            self.reloads.get_or_create(&done(by, result)).inc();
            self.reload_owed.set(0);
        };
        match event {
            Event::Kept { changed, .. } => {
                self.not_kept.set(0);
                self.kept_time.set(now_s);
                if *changed {
                    keep("written");
                }
            }
            Event::NotKept { refused, .. } => {
                self.not_kept.set(1);
                keep(if refused.is_some() { "refused" } else { "failed" });
            }
            Event::NoLine(_) => {}
            Event::Owed { .. } => {
                self.reload_owed.set(1);
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
