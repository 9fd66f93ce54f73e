//! What the fuzz targets share: cutting input into pieces, and the slow readings that the real ones are held against.

#[path = "../../tests/support/reference.rs"]
pub mod reference;

#[path = "../../tests/support/short_way.rs"]
pub mod short_way;

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
