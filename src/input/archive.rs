//! Old logs as they lie about: plain, `.gz` or `.zst`, told apart by their first bytes and not by name.
//!
//! In: a path, or anything that can be read. Out: a [`Read`] of the text in it. Several archives one after
//! the other in a file are read as one text, as `zcat` and `zstdcat` do. An archive whose end is missing
//! gives what it has and then [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// What gzip files begin with (RFC 1952, 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];
/// What Zstandard frames begin with (RFC 8878, 3.1.1).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Compressed bytes taken from the file at a time.
const BLOCK: usize = 128 << 10;

/// How the text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// As it is.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Packing {
    /// Of something that begins with `head`; four bytes are enough to know.
    pub fn of(head: &[u8]) -> Self {
        if head.starts_with(GZIP) {
            Self::Gzip
        } else if head.starts_with(ZSTD) {
            Self::Zstd
        } else {
            Self::Plain
        }
    }
}

/// The text in the file at `path`. How it is packed is known before the first byte is read.
///
/// # Errors
/// If the file cannot be opened, or its first bytes cannot be read.
pub fn open(path: &Path) -> io::Result<Archive> {
    unpack(File::open(path)?)
}

/// The text in `packed`, which may be a pipe: nothing is read twice.
///
/// # Errors
/// If the first bytes cannot be read.
pub fn unpack(mut packed: impl Read + Send + 'static) -> io::Result<Archive> {
    let mut head = Vec::new();
    Read::by_ref(&mut packed).take(ZSTD.len() as u64).read_to_end(&mut head)?;
    let packing = Packing::of(&head);
    let whole = io::Cursor::new(head).chain(packed);
    let text: Box<dyn Read + Send> = match packing {
        Packing::Plain => Box::new(whole),
        Packing::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BLOCK, whole))),
        Packing::Zstd => {
            Box::new(zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(BLOCK, whole))?)
        }
    };
    Ok(Archive { packing, text })
}

/// The text of an old log.
pub struct Archive {
    packing: Packing,
    text: Box<dyn Read + Send>,
}

impl Archive {
    /// How it is packed; the size of a plain one is that of its file.
    pub fn packing(&self) -> Packing {
        self.packing
    }
}

impl Read for Archive {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        self.text.read(block)
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("packing", &self.packing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"one\ntwo\nthree\n";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 1).unwrap()
    }

    /// What is read, and how it ends.
    fn read(packed: &[u8]) -> (Packing, Vec<u8>, Option<io::ErrorKind>) {
        let mut archive = unpack(io::Cursor::new(packed.to_vec())).unwrap();
        let mut text = Vec::new();
        let end = archive.read_to_end(&mut text).err().map(|error| error.kind());
        (archive.packing(), text, end)
    }

    #[track_caller]
    fn check(packed: &[u8], packing: Packing, text: &[u8], end: Option<io::ErrorKind>) {
        let (found, read, ended) = read(packed);
        assert_eq!((found, String::from_utf8_lossy(&read)), (packing, String::from_utf8_lossy(text)));
        assert_eq!(ended, end);
    }

    #[test]
    fn what_a_file_is_its_first_bytes_tell() {
        check(TEXT, Packing::Plain, TEXT, None);
        check(&gzip(TEXT), Packing::Gzip, TEXT, None);
        check(&zstd(TEXT), Packing::Zstd, TEXT, None);
        check(b"", Packing::Plain, b"", None);
        check(b"a\n", Packing::Plain, b"a\n", None);
        check(&gzip(b""), Packing::Gzip, b"", None);
    }

    #[test]
    fn archives_in_a_row_are_one_text() {
        let twice = [TEXT, TEXT].concat();
        check(&[gzip(TEXT), gzip(TEXT)].concat(), Packing::Gzip, &twice, None);
        check(&[zstd(TEXT), zstd(TEXT)].concat(), Packing::Zstd, &twice, None);
    }

    #[test]
    fn an_archive_that_was_cut_gives_what_it_has_and_says_so() {
        let lines = TEXT.repeat(10_000);
        for packed in [gzip(&lines), zstd(&lines)] {
            let (_, text, end) = read(&packed[..packed.len() - 5]);
            assert_eq!(end, Some(io::ErrorKind::UnexpectedEof));
            assert!(lines.starts_with(&text));
        }
    }

    #[test]
    fn files_are_opened_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haproxy.log.2");
        std::fs::write(&path, gzip(TEXT)).unwrap();
        let mut text = Vec::new();
        open(&path).unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(text, TEXT);
        assert_eq!(open(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(open(folder.path()).is_err(), "a directory");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_any_bytes_end(text in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(read(&gzip(&text)).1, &text[..]);
            prop_assert_eq!(read(&zstd(&text)).1, &text[..]);
            read(&[GZIP, &text].concat());
            read(&[ZSTD, &text].concat());
        }
    }
}
