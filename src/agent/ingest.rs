//! The reading thread's end of the road: bytes in, batches of samples out.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::{FormatError, LogFormat};
use crate::core::log::format::LineFormat;
use crate::core::log::reader::{Batch, Reader};
use crate::core::log::recent::Recent;
use crate::core::names::Names;
use crate::input::{Sink, Source, SourceEvent};

/// A batch is handed over when it tells of so many requests, or when all there is has been read.
const SAMPLES: usize = 4096;

/// What was read of one source.
pub(super) struct Delivery {
    /// Which, as the operator wrote it.
    pub(super) source: Arc<str>,
    pub(super) batch: Batch,
}

/// Parses what the reading thread reads, on that thread.
pub(super) struct Ingest {
    readers: Vec<(Arc<str>, Reader)>,
    batch: Batch,
    /// The place of the source that `batch` is of.
    of: usize,
    out: mpsc::Sender<Delivery>,
    wanted: bool,
}

impl Ingest {
    /// One reader for each of `sources`.
    pub(super) fn new(
        sources: &[Source],
        format: &LineFormat,
        most_line_bytes: usize,
        names: &Names,
        out: mpsc::Sender<Delivery>,
    ) -> Self {
        let reader = |source: &Source| {
            let reader = Reader::new(names.clone(), format.clone());
            (source.to_string().into(), reader.with_most_line_bytes(most_line_bytes))
        };
        let mut readers: Vec<_> = sources.iter().map(reader).collect();
        if let Some((_, first)) = readers.first_mut() {
            first.remember_in(Recent::new());
        }
        Self { readers, batch: Batch::default(), of: 0, out, wanted: true }
    }

    /// The reader of this source, and the batch it reads into. It gets to know the lines of all of them.
    fn turn_to(&mut self, source: usize) -> (&mut Reader, &mut Batch) {
        if self.of != source {
            self.hand_over();
            let recent = self.readers[self.of].1.remember_in(Recent::default());
            self.readers[source].1.remember_in(recent);
            self.of = source;
        }
        (&mut self.readers[source].1, &mut self.batch)
    }

    /// Waits for room: the reading thread may, and for a pipe its writer then waits too.
    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if batch.counts.lines > 0 || batch.counts.lost > 0 {
            let source = self.readers[self.of].0.clone();
            self.wanted &= self.out.blocking_send(Delivery { source, batch }).is_ok();
        }
    }
}

impl Sink for Ingest {
    fn bytes(&mut self, source: usize, bytes: &[u8], arrived: Instant) {
        let (reader, batch) = self.turn_to(source);
        reader.read(bytes, arrived, batch);
        let Batch { samples, repeats, answers, .. } = &self.batch;
        if samples.len() + repeats.len() + answers.len() >= SAMPLES {
            self.hand_over();
        }
    }

    fn cut(&mut self, source: usize, arrived: Instant) {
        let (reader, batch) = self.turn_to(source);
        reader.finish(arrived, batch);
    }

    fn tail(&mut self, source: usize, tail: &[u8], written: Instant) {
        self.readers[source].1.learn_clock(tail, written);
    }

    fn lost(&mut self, source: usize, lines: u64) {
        self.turn_to(source).1.counts.lost += lines;
    }

    fn flush(&mut self) -> bool {
        self.hand_over();
        self.wanted
    }

    fn event(&mut self, source: usize, event: SourceEvent) {
        let source = &*self.readers[source].0;
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
