//! Bytes to [`Sample`](sample::Sample)s: framing, envelope, fields, meaning.
//!
//! [`Reader`](reader::Reader) puts the stages together for a source; [`LineFormat`](format::LineFormat)
//! reads a single line, for whoever wants its fields. Every line, whatever its bytes, is a
//! request, a message of HAProxy's own, or unparsed with the reason; nothing here can panic on
//! input, and nothing is allocated for a line. What a client can forge is told in `http`.

pub mod envelope;
pub mod framing;

pub mod error;
pub mod field;

mod clf;
mod cursor;
mod ending;
mod head;
mod http;
mod json;
mod legacy;
mod tail;
mod tcp;
mod timers;
mod wrapping;

mod gathering;

pub mod custom;
pub mod date;
pub mod format;
pub mod format_set;
pub mod haproxy_cfg;
pub mod line;
pub mod log_format;
pub mod message;
pub mod omissions;
pub mod parser;

pub mod clock;
pub mod sample;

mod name_cache;

pub mod fast;
pub(crate) mod lanes;

pub mod reader;
pub mod recent;
