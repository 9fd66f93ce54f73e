//! The reading thread's end of the road: bytes in, batches of samples out.

use std::time::Instant;

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::{FormatError, LogFormat};
use crate::core::log::format::LineFormat;
use crate::core::log::reader::{Batch, Reader};
use crate::core::names::Names;
use crate::input::{Sink, Source, SourceEvent};

/// A batch is handed over when it has so many samples, or when all there is has been read.
const SAMPLES: usize = 4096;

/// Parses what the reading thread reads, on that thread.
pub(super) struct Ingest {
    readers: Vec<(Source, Reader)>,
    batch: Batch,
    out: mpsc::Sender<Batch>,
    wanted: bool,
}

impl Ingest {
    /// One reader for each of `sources`.
    pub(super) fn new(
        sources: &[Source],
        names: &Names,
        format: &LineFormat,
        out: mpsc::Sender<Batch>,
    ) -> Self {
        let reader = |source: &Source| (source.clone(), Reader::new(names.clone(), format.clone()));
        Self { readers: sources.iter().map(reader).collect(), batch: Batch::default(), out, wanted: true }
    }

    /// Waits for room: the reading thread may, and for a pipe its writer then waits too.
    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if batch.counts.lines > 0 {
            self.wanted &= self.out.blocking_send(batch).is_ok();
        }
    }
}

impl Sink for Ingest {
    fn bytes(&mut self, source: usize, bytes: &[u8], arrived: Instant) {
        self.readers[source].1.read(bytes, arrived, &mut self.batch);
        if self.batch.samples.len() >= SAMPLES {
            self.hand_over();
        }
    }

    fn cut(&mut self, source: usize, arrived: Instant) {
        self.readers[source].1.finish(arrived, &mut self.batch);
    }

    fn tail(&mut self, source: usize, tail: &[u8], written: Instant) {
        self.readers[source].1.learn_clock(tail, written);
    }

    fn flush(&mut self) -> bool {
        self.hand_over();
        self.wanted
    }

    fn event(&mut self, source: usize, event: SourceEvent) {
        let source = self.readers[source].0.to_string();
        if event.is_trouble() {
            warn!(source, "{event}");
        } else {
            info!(source, "{event}");
        }
    }
}

impl Drop for Ingest {
    /// Reading was stopped: what is read is counted. A half line is not: its rest is still to be written.
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// The configured format as the readers take it. Formats of HAProxy's configuration that cannot be
/// read are told, for their lines will not be understood.
///
/// # Errors
/// If it cannot be used.
pub(super) fn line_format(format: &LogFormat) -> Result<LineFormat, FormatError> {
    let loaded = format.load()?;
    for refused in loaded.refused {
        warn!(reason = refused, "log format not read");
    }
    Ok(loaded.format)
}
