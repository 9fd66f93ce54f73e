//! Chunks of bytes to lines; a half line is kept for later.
//!
//! In: chunks as they were read, cut anywhere. Out: lines without `\n` or `\r\n`. A line that lies
//! wholly inside a chunk is borrowed from it; only the half line at a chunk's end is copied. A
//! line over the limit is dropped whole and told of once. However the bytes are cut into chunks, the lines are
//! the same. Costs one `memchr` a line.

use memchr::memchr;

/// 64 KiB: HAProxy's own limit, `log ... len`, goes to 65535.
pub const DEFAULT_MOST_LINE_BYTES: usize = 64 * 1024;

/// How much of an overlong line is kept to show.
pub const SHOWN_BYTES: usize = 200;

/// One line, or the trace of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A line without its end.
    Line(&'a [u8]),
    /// A line longer than the limit: its first [`SHOWN_BYTES`] bytes.
    Overlong(&'a [u8]),
}

/// Where the lines of one source begin and end.
#[derive(Clone, Debug)]
pub struct Framing {
    most_line_bytes: usize,
    /// The start of a line whose end has not come yet.
    half: Vec<u8>,
    /// That line is over the limit already: only what is shown of it is kept.
    is_overlong: bool,
}

impl Framing {
    /// Lines over `most_line_bytes` (their `\n` not counted) are dropped.
    pub const fn new(most_line_bytes: usize) -> Self {
        Self { most_line_bytes, half: Vec::new(), is_overlong: false }
    }

    /// The limit.
    pub const fn most_line_bytes(&self) -> usize {
        self.most_line_bytes
    }

    /// Gives each line that ends in `chunk` to `each`, in order.
    pub fn push(&mut self, chunk: &[u8], mut each: impl FnMut(Frame<'_>)) {
        let mut rest = chunk;
        while let Some(newline) = memchr(b'\n', rest) {
            let (line, after) = (&rest[..newline], &rest[newline + 1..]);
            rest = after;
            if self.has_half_line() {
                self.keep(line);
                self.end_half_line(&mut each);
            } else if line.len() > self.most_line_bytes {
                each(Frame::Overlong(shown(line)));
            } else {
                each(Frame::Line(without_carriage_return(line)));
            }
        }
        self.keep(rest);
    }

    /// Ends the half line, if there is one: nothing more will come.
    pub fn finish(&mut self, mut each: impl FnMut(Frame<'_>)) {
        if self.has_half_line() {
            self.end_half_line(&mut each);
        }
    }

    /// Forgets the half line: what comes next does not continue it.
    pub fn discard_half_line(&mut self) {
        self.half.clear();
        self.is_overlong = false;
    }

    fn has_half_line(&self) -> bool {
        !self.half.is_empty() || self.is_overlong
    }

    fn keep(&mut self, part: &[u8]) {
        self.is_overlong |= self.half.len() + part.len() > self.most_line_bytes;
        if self.is_overlong {
            let missing = SHOWN_BYTES.saturating_sub(self.half.len());
            self.half.extend_from_slice(&part[..missing.min(part.len())]);
            self.half.truncate(SHOWN_BYTES);
        } else {
            self.half.extend_from_slice(part);
        }
    }

    fn end_half_line(&mut self, each: &mut impl FnMut(Frame<'_>)) {
        if self.is_overlong {
            each(Frame::Overlong(shown(&self.half)));
        } else {
            each(Frame::Line(without_carriage_return(&self.half)));
        }
        self.discard_half_line();
    }
}

impl Default for Framing {
    fn default() -> Self {
        Self::new(DEFAULT_MOST_LINE_BYTES)
    }
}

fn shown(line: &[u8]) -> &[u8] {
    &line[..line.len().min(SHOWN_BYTES)]
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every frame of `chunks`, as text; overlong ones marked.
    fn frames(limit: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut framing = Framing::new(limit);
        let mut found = Vec::new();
        let mut note = |frame: Frame<'_>| {
            found.push(match frame {
                Frame::Line(line) => String::from_utf8_lossy(line).into_owned(),
                Frame::Overlong(head) => format!("overlong: {}", String::from_utf8_lossy(head)),
            });
        };
        for chunk in chunks {
            framing.push(chunk, &mut note);
        }
        framing.finish(&mut note);
        found
    }

    #[track_caller]
    fn check(chunks: &[&str], expected: &[&str]) {
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_bytes()).collect();
        assert_eq!(frames(8, &chunks), expected);
    }

    #[test]
    fn a_half_line_is_kept_for_later() {
        check(&["one\ntwo", "\nth", "", "ree\n"], &["one", "two", "three"]);
        check(&["a\n\nb"], &["a", "", "b"]);
        check(&["", ""], &[]);
    }

    #[test]
    fn a_carriage_return_belongs_to_the_end_of_the_line() {
        check(&["one\r\ntw\ro\r", "\n"], &["one", "tw\ro"]);
    }

    #[test]
    fn an_overlong_line_is_told_of_once_and_the_next_one_is_whole() {
        check(&["12345678\n123456789\nok\n"], &["12345678", "overlong: 123456789", "ok"]);
        check(&["1234", "5678", "9", "\nok\n"], &["overlong: 123456789", "ok"]);
        check(&["123456789"], &["overlong: 123456789"]);
    }

    #[test]
    fn a_discarded_half_line_leaves_no_trace() {
        let mut framing = Framing::new(8);
        framing.push(b"123456789", |_| panic!("no line has ended"));
        framing.discard_half_line();
        let mut lines = 0;
        framing.push(b"ok\n", |frame| {
            assert_eq!(frame, Frame::Line(b"ok"));
            lines += 1;
        });
        framing.finish(|_| panic!("nothing is left"));
        assert_eq!(lines, 1);
    }

    proptest! {
        #[test]
        fn any_chunking_of_the_same_bytes_gives_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..600),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
            limit in 0usize..300,
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut begin = 0;
            for cut in cuts {
                chunks.push(&bytes[begin..cut]);
                begin = cut;
            }
            chunks.push(&bytes[begin..]);
            prop_assert_eq!(frames(limit, &chunks), frames(limit, &[&bytes]));
        }
    }
}
