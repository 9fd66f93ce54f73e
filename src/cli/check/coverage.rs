//! Does the log tell of what HAProxy counts? Watched for some seconds by the same parts that do so live;
//! or asked of the agent that is running already.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Finding;
use crate::config::Config;
use crate::core::controller::{Controller, Memory, View, doubt};
use crate::core::log::reader::{Batch, Reader};
use crate::core::log::recent::Recent;
use crate::core::names::Names;
use crate::core::policy::Span;
use crate::haproxy::executor::Executor;
use crate::input::{Options, Sink, Source, SourceEvent, Waker, start};
use crate::telemetry::socket::{Request, ask};

/// Long enough for three seconds of requests to be compared.
const WATCHED: Duration = Duration::from_secs(6);

/// Without a request in so long there is nothing to wait for.
const IDLE: Duration = Duration::from_secs(1);

/// How often HAProxy is asked.
const LOOKS: Duration = Duration::from_millis(250);

const REMEDY: &str = "which lines: `haproxy-autoscale parse --failed`; else is every frontend of the backend logged, here, \
                      and once? a share that is meant to be missing: `sample_rate`, `coverage`";

pub(super) async fn check(sources: &[Source], config: &Config) -> Vec<Finding> {
    if config.backends.is_empty() {
        return Vec::new();
    }
    if let Ok(status) = ask(&config.runtime_dir, &Request::Status).await {
        return status["backends"].as_array().into_iter().flatten().filter_map(told).collect();
    }
    watch(sources, config).await.unwrap_or_default()
}

/// What a running agent has found.
fn told(backend: &Value) -> Option<Finding> {
    let about = format!("backend {}", backend["backend"].as_str()?);
    if let Some(doubt) = backend["doubt"].as_str() {
        return Some(Finding::fail(&about, doubt, REMEDY));
    }
    let found = &backend["coverage"];
    Some(good(&about, found["understood"].as_u64()?, found["expected"].as_u64()?, found["span_s"].as_f64()?))
}

fn good(about: &str, understood: u64, expected: u64, span_s: f64) -> Finding {
    let span = Span(Duration::try_from_secs_f64(span_s).unwrap_or_default());
    Finding::ok(
        about,
        format!(
            "of {expected} requests in {span}, as HAProxy counts, {understood} are understood in the log"
        ),
    )
}

/// `None` if HAProxy or the log cannot be watched, which others tell.
async fn watch(sources: &[Source], config: &Config) -> Option<Vec<Finding>> {
    let names = Names::default();
    let haproxy = Executor::open(&config.sockets(), config.socket_timeout, names.clone(), true).ok()?;
    let heard = Heard::new(sources.iter().filter(|source| can_be_watched(source)).count(), config, &names)?;
    let watched: Vec<Source> = sources.iter().filter(|source| can_be_watched(source)).cloned().collect();
    if watched.len() < sources.len() {
        return None;
    }
    let waker = Waker::new().ok()?;
    let reading = start(watched, Options::default(), heard.clone(), waker).ok()?;
    let begun = Instant::now();
    let mut controller = Controller::new(names.clone(), config.backends.clone(), &Memory::default(), begun);
    let mut first = None;
    while begun.elapsed() < WATCHED {
        let asked = Instant::now();
        let Ok(inventory) = haproxy.inventory().await else { break };
        let begun_requests: u64 = inventory.backends.iter().map(|backend| backend.total_sessions).sum();
        controller.handle_batch(&mut std::mem::take(&mut heard.lock().batch), Instant::now());
        controller.handle_inventory(inventory, asked, Instant::now());
        controller.handle_tick(Instant::now());
        // Nothing is decided here.
        while controller.poll_action().is_some() {}
        if *first.get_or_insert(begun_requests) == begun_requests && begun.elapsed() >= IDLE {
            break;
        }
        tokio::time::sleep(LOOKS).await;
    }
    reading.stop();
    Some(controller.views(Instant::now()).iter().filter_map(|view| found(view, &names)).collect())
}

/// A running agent alone receives what is sent to a socket; reading a FIFO would take lines from it.
fn can_be_watched(source: &Source) -> bool {
    match source {
        Source::File(path) => std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()),
        Source::Ring(_) | Source::Journald(_) => true,
        _ => false,
    }
}

fn found(view: &View, names: &Names) -> Option<Finding> {
    let about = format!("backend {}", names.of_backend(view.backend));
    let found = view.coverage?;
    // While the log is silent there is no doubt about what it says.
    if let Some(doubt) = view.doubt.clone().or(doubt(&found, None)) {
        return Some(Finding::fail(&about, doubt.to_string(), REMEDY));
    }
    Some(good(&about, found.understood, found.expected, found.span.as_secs_f64()))
}

/// What is read meanwhile.
#[derive(Clone)]
struct Heard(Arc<Mutex<HeardSoFar>>);

struct HeardSoFar {
    readers: Vec<Reader>,
    recent: Recent,
    batch: Batch,
}

impl Heard {
    fn new(sources: usize, config: &Config, names: &Names) -> Option<Self> {
        let format = config.log_format.load().ok()?.format;
        let reader =
            || Reader::new(names.clone(), format.clone()).with_most_line_bytes(config.max_line_bytes);
        let readers = (0..sources).map(|_| reader()).collect();
        Some(Self(Arc::new(Mutex::new(HeardSoFar {
            readers,
            recent: Recent::new(),
            batch: Batch::default(),
        }))))
    }

    fn lock(&self) -> MutexGuard<'_, HeardSoFar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Heard {
    fn bytes(&mut self, source: usize, bytes: &[u8], arrived: Instant) {
        let HeardSoFar { readers, recent, batch } = &mut *self.lock();
        let reader = &mut readers[source];
        reader.remember_in(std::mem::take(recent));
        reader.read(bytes, arrived, batch);
        *recent = reader.remember_in(Recent::default());
    }

    fn cut(&mut self, source: usize, arrived: Instant) {
        let HeardSoFar { readers, batch, .. } = &mut *self.lock();
        readers[source].finish(arrived, batch);
    }

    fn tail(&mut self, source: usize, tail: &[u8], written: Instant) {
        self.lock().readers[source].learn_clock(tail, written);
    }

    fn flush(&mut self) -> bool {
        true
    }

    fn event(&mut self, _source: usize, _event: SourceEvent) {}
}
