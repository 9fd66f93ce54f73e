//! Bytes to [`Sample`](sample::Sample)s: framing, envelope, fields, meaning.

pub mod sample;
