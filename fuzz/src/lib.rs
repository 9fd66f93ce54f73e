//! What the fuzz targets share: cutting input into pieces, and the slow readings that the real ones are held against.

#[path = "../../tests/support/reference.rs"]
pub mod reference;

#[path = "../../tests/support/short_way.rs"]
pub mod short_way;

use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::line::LogLine;
use reference::Fields;

/// `bytes` in pieces whose lengths, 1 to 32, they tell themselves: what cuts differently is another input.
pub fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while let [first, ..] = rest {
        let length = (usize::from(first.wrapping_mul(0x9D)) % 32 + 1).min(rest.len());
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Every way of cutting `bytes` that a target tries: whole, in pieces, byte by byte.
pub fn cuts(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    [vec![bytes], pieces(bytes), bytes.chunks(1).collect()]
}

/// The first line of `input`, as text, and the rest.
pub fn first_line(input: &[u8]) -> Option<(&str, &[u8])> {
    let newline = input.iter().position(|&byte| byte == b'\n')?;
    Some((std::str::from_utf8(&input[..newline]).ok()?, &input[newline + 1..]))
}

/// What the lines of a text are.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

/// What a line says, as a whole.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// A request, all of its fields.
    Request(Fields),
    /// A message.
    Message,
    /// Neither.
    Unparsed,
}

/// Reads `line` in `format`; whatever is said has to stand in it.
#[track_caller]
pub fn said(format: &mut LineFormat, line: &[u8]) -> Said {
    match format.read(line) {
        Line::Request(request) => {
            check_request(&request, line);
            Said::Request(reference::fields_of(&request))
        }
        Line::Message(message) => {
            assert!(line.ends_with(message.text.trim_ascii_end()) || line.ends_with(message.text));
            Said::Message
        }
        Line::Unparsed(error) => {
            assert!(error.offset <= line.len(), "{error}: {}", line.escape_ascii());
            Said::Unparsed
        }
    }
}

/// What no line may lead to, whatever its format.
#[track_caller]
pub fn check_request(request: &LogLine<'_>, line: &[u8]) {
    assert!(!request.backend.is_empty(), "{}", line.escape_ascii());
    assert!(request.status.is_none_or(|status| (100..=999).contains(&status)), "{}", line.escape_ascii());
    assert!(request.is_custom() || !request.server.is_empty(), "{}", line.escape_ascii());
}
