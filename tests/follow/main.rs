//! The reading side against real files, FIFOs, links, processes and logrotate: what was written is what
//! arrives, each line once, whatever happens to the file in between.

mod desk;
mod model;
mod pipes;
mod rotation;
mod start;
mod thread;
