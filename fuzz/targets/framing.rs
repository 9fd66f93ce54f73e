//! Bytes to lines: however they are cut, the lines are those that a newline ends.
#![no_main]

use haproxy_autoscale::core::log::framing::{Frame, Framing, SHOWN_BYTES};
use haproxy_autoscale_fuzz::cuts;
use libfuzzer_sys::fuzz_target;

/// The lines of `bytes`, overlong ones marked.
fn expected(bytes: &[u8], most: usize) -> Vec<(bool, Vec<u8>)> {
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    // Behind the last newline there is a line only if there is something.
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let line = |line: &[u8]| match line.len() > most {
        true => (true, line[..line.len().min(SHOWN_BYTES)].to_vec()),
        false => (false, line.strip_suffix(b"\r").unwrap_or(line).to_vec()),
    };
    lines.into_iter().map(line).collect()
}

fuzz_target!(|input: &[u8]| {
    let [most, bytes @ ..] = input else { return };
    let most = usize::from(*most);
    for chunks in cuts(bytes) {
        let mut framing = Framing::new(most);
        let mut found = Vec::new();
        let mut note = |frame: Frame<'_>| {
            found.push(match frame {
                Frame::Line(line) => (false, line.to_vec()),
                Frame::Overlong(head) => (true, head.to_vec()),
            });
        };
        chunks.into_iter().for_each(|chunk| framing.push(chunk, &mut note));
        framing.finish(&mut note);
        assert_eq!(found, expected(bytes, most));
    }
});
