//! Opens what a path leads to, without ever waiting for it, if it is something that can be followed.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use super::SourceEvent;

/// Opens a file or a FIFO, following links. Anything else is not even opened: a device may act on it.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), SourceEvent> {
    let metadata = std::fs::metadata(path).map_err(|error| trouble_of(&error))?;
    if !can_be_followed(&metadata) {
        return Err(SourceEvent::NotAFile);
    }
    // Without O_NONBLOCK the open of a FIFO waits for a writer. On a file it has no effect.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(|error| trouble_of(&error))?;
    let metadata = file.metadata().map_err(|error| trouble_of(&error))?;
    if can_be_followed(&metadata) { Ok((file, metadata)) } else { Err(SourceEvent::NotAFile) }
}

fn can_be_followed(metadata: &Metadata) -> bool {
    metadata.is_file() || metadata.file_type().is_fifo()
}

/// What to tell of an error of looking, opening or reading.
pub(super) fn trouble_of(error: &io::Error) -> SourceEvent {
    match error.kind() {
        io::ErrorKind::NotFound => SourceEvent::Missing,
        kind => SourceEvent::Unreadable(kind),
    }
}
