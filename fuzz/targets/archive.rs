//! Compressed logs: any bytes end, a whole archive gives its text, and one that was cut or damaged gives no
//! other text than the beginning of it, or says so.
#![no_main]

use std::io::{Cursor, Read, Write};

use flate2::write::GzEncoder;
use haproxy_autoscale::input::archive::{Packing, unpack};
use libfuzzer_sys::fuzz_target;

/// What little can be blown up to is not looked at further.
const MOST_TEXT: u64 = 1 << 20;

fn read(packed: &[u8], block: usize) -> (Vec<u8>, bool) {
    let Ok(mut archive) = unpack(Cursor::new(packed.to_vec())) else { return (Vec::new(), false) };
    let (mut text, mut buffer) = (Vec::new(), vec![0; block]);
    while (text.len() as u64) < MOST_TEXT {
        match archive.read(&mut buffer) {
            Ok(0) => return (text, true),
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(_) => return (text, false),
        }
    }
    (text, false)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("a vector takes all")
}

fuzz_target!(|input: &[u8]| {
    let (text, is_whole) = read(input, 1 << 16);
    if Packing::of(input) == Packing::Plain {
        assert!(text == input && is_whole);
        if input.len() < 4096 {
            assert_eq!(read(input, 1), (text, is_whole));
        }
    }
    let [a, b, text @ ..] = input else { return };
    for packed in [gzip(text), zstd::encode_all(text, 1).expect("a vector takes all")] {
        assert_eq!(read(&packed, 1 << 10), (text.to_vec(), true));
        let end = usize::from(u16::from_le_bytes([*a, *b])) % packed.len();
        let (before, is_whole) = read(&packed[..end], 1 << 10);
        // So little is left that it is no archive any more.
        let is_archive = Packing::of(&packed[..end]) != Packing::Plain;
        assert!(!is_archive || text.starts_with(&before) && !is_whole);
        // gzip alone has a sum of all it holds.
        if packed.starts_with(&[0x1f, 0x8b]) && end >= 10 && end < packed.len() - 8 {
            let mut damaged = packed.clone();
            damaged[end] ^= 1 << (a % 8);
            let (found, is_whole) = read(&damaged, 1 << 10);
            assert!(found == text || !is_whole);
        }
    }
});
