//! Bytes to [`Sample`](sample::Sample)s: framing, envelope, fields, meaning.

pub mod envelope;
pub mod framing;

pub mod error;
pub mod field;

mod cursor;
mod ending;
mod head;
mod http;
mod tail;
mod tcp;
mod timers;

pub mod custom;
pub mod date;
pub mod format;
pub mod line;
pub mod message;

pub mod clock;
pub mod sample;

pub mod reader;
