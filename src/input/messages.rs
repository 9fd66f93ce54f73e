//! Syslog messages on a TCP connection: where one ends and the next begins (RFC 6587, 3.4).
//!
//! In: bytes, cut anywhere. Out: each message as a line. Octet-counted messages (`156 <134>Nov 21 ...`, no
//! newline; HAProxy's `log-proto octet-count`) and those that end with a newline (`log-proto legacy`, the
//! default) are told apart one by one: a count is up to six digits, the first not zero, and a blank. A
//! line of HAProxy's in `format raw` begins with digits too, but a dot or a colon follows them.

use memchr::memchr;

use super::place::TcpFraming;

/// More digits are no count: ten times HAProxy's longest line has six.
const MOST_DIGITS: usize = 6;

/// What a connection has sent so far of a message.
#[derive(Clone, Debug)]
pub struct Messages {
    framing: TcpFraming,
    /// So much of a message is kept: a byte more than a line may have, so that it is seen to be too long.
    most_kept: usize,
    within: Within,
    /// What there is of the message; at its start, digits that may be a count.
    half: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// Nothing has told yet what it is.
    Start,
    /// A message with so many bytes to come.
    Counted(usize),
    /// A message that ends with a newline.
    Line,
}

impl Messages {
    /// Of a connection whose lines may have `longest_line` bytes.
    pub fn new(framing: TcpFraming, longest_line: usize) -> Self {
        Self { framing, most_kept: longest_line + 1, within: Within::Start, half: Vec::new() }
    }

    /// Adds to `lines` each message that ends in `bytes`, with a newline at its end. One that is longer
    /// than a line may be is cut, but not so short that it could be taken for whole.
    pub fn push(&mut self, mut bytes: &[u8], lines: &mut Vec<u8>) {
        while !bytes.is_empty() {
            bytes = match self.within {
                Within::Start => self.begin(bytes),
                Within::Counted(left) => self.counted(bytes, left, lines),
                Within::Line => self.line(bytes, lines),
            };
        }
    }

    /// The connection has ended: what there is of a message is a line, for it did arrive.
    pub fn finish(&mut self, lines: &mut Vec<u8>) {
        self.end(lines);
    }

    /// Finds out what the message is. Returns what does not belong to its beginning.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (first, rest) = (bytes[0], &bytes[1..]);
        let is_first = self.half.is_empty();
        match first {
            // Between messages: a newline behind a counted one, or an empty line.
            b'\n' | b'\r' | 0 if is_first => rest,
            b'1'..=b'9' if self.framing == TcpFraming::Auto && is_first => self.keep_digit(first, rest),
            b'0'..=b'9' if !is_first && self.half.len() < MOST_DIGITS => self.keep_digit(first, rest),
            b' ' if !is_first => {
                self.within = Within::Counted(number(&self.half));
                self.half.clear();
                rest
            }
            _ => {
                self.within = Within::Line;
                bytes
            }
        }
    }

    fn keep_digit<'a>(&mut self, digit: u8, rest: &'a [u8]) -> &'a [u8] {
        self.half.push(digit);
        rest
    }

    fn counted<'a>(&mut self, bytes: &'a [u8], left: usize, lines: &mut Vec<u8>) -> &'a [u8] {
        let (part, rest) = bytes.split_at(left.min(bytes.len()));
        self.keep(part);
        self.within = Within::Counted(left - part.len());
        if left == part.len() {
            self.end(lines);
        }
        rest
    }

    fn line<'a>(&mut self, bytes: &'a [u8], lines: &mut Vec<u8>) -> &'a [u8] {
        let Some(newline) = memchr(b'\n', bytes) else {
            self.keep(bytes);
            return &[];
        };
        self.keep(&bytes[..newline]);
        self.end(lines);
        &bytes[newline + 1..]
    }

    fn keep(&mut self, part: &[u8]) {
        let room = self.most_kept.saturating_sub(self.half.len());
        self.half.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end(&mut self, lines: &mut Vec<u8>) {
        let is_trailer = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
        let end = self.half.iter().rposition(|byte| !is_trailer(byte)).map_or(0, |last| last + 1);
        if end > 0 {
            lines.extend_from_slice(&self.half[..end]);
            lines.push(b'\n');
        }
        self.half.clear();
        self.within = Within::Start;
    }
}

/// Of at most `MOST_DIGITS` digits.
fn number(digits: &[u8]) -> usize {
    digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONGEST: usize = 1000;

    fn read(framing: TcpFraming, chunks: &[&[u8]]) -> Vec<u8> {
        let (mut messages, mut lines) = (Messages::new(framing, LONGEST), Vec::new());
        for chunk in chunks {
            messages.push(chunk, &mut lines);
        }
        messages.finish(&mut lines);
        lines
    }

    #[track_caller]
    fn check(bytes: &str, lines: &str) {
        let read = read(TcpFraming::Auto, &[bytes.as_bytes()]);
        assert_eq!(String::from_utf8_lossy(&read), lines, "{bytes:?}");
    }

    #[test]
    fn messages_are_told_apart_one_by_one() {
        check("5 <1>ab3 <2>", "<1>ab\n<2>\n");
        check("<1>ab\n<2>\n", "<1>ab\n<2>\n");
        check("5 <1>ab<2>c\n3 <3>\n4 <4>d", "<1>ab\n<2>c\n<3>\n<4>d\n");
        check("6 <1>ab\n<2>\n", "<1>ab\n<2>\n");
        check("<1>a\r\n\n\n<2>\n", "<1>a\n<2>\n");
    }

    #[test]
    fn a_line_that_begins_with_digits_is_a_line() {
        check("127.0.0.1:5 [21/Nov/2026]\n::1:5 [x]\n", "127.0.0.1:5 [21/Nov/2026]\n::1:5 [x]\n");
        check("1795269085 200 GET\n0 a\n", "1795269085 200 GET\n0 a\n");
        check("123", "123\n");
        let lines = read(TcpFraming::Lines, &[b"200 12 GET\n5 x\n"]);
        assert_eq!(String::from_utf8_lossy(&lines), "200 12 GET\n5 x\n");
    }

    #[test]
    fn what_a_connection_leaves_behind_is_a_line() {
        check("<1>ab", "<1>ab\n");
        check("99 <1>ab", "<1>ab\n");
        check("99 ", "");
        check("", "");
    }

    #[test]
    fn a_message_longer_than_a_line_is_cut_and_still_too_long() {
        let long = "x".repeat(3 * LONGEST);
        for text in [format!("{long}\n<1>a\n"), format!("{} {long}4 <1>a", long.len())] {
            check(&text, &format!("{}\n<1>a\n", "x".repeat(LONGEST + 1)));
        }
    }

    /// A message and how it is sent. Lines begin like HAProxy's do: with `<` or an address.
    fn message() -> impl Strategy<Value = (Vec<u8>, bool)> {
        let text = prop_oneof![Just(b"<134>".to_vec()), Just(b"1.2.3.4:5 [".to_vec()), Just(b"::1".to_vec())];
        let rest = proptest::collection::vec(prop_oneof![b' '..=b'~', 0x80u8..], 1..300);
        (text, rest, any::<bool>()).prop_map(|(text, rest, counted)| ([text, rest].concat(), counted))
    }

    fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    proptest! {
        #[test]
        fn any_messages_in_any_framing_and_chunks_come_out_whole(
            sent in proptest::collection::vec(message(), 0..12),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let (mut wire, mut lines) = (Vec::new(), Vec::new());
            for (text, counted) in &sent {
                if *counted {
                    wire.extend(format!("{} ", text.len()).into_bytes());
                }
                wire.extend(text);
                wire.extend((!counted).then_some(b'\n'));
                lines.extend(text);
                lines.push(b'\n');
            }
            prop_assert_eq!(read(TcpFraming::Auto, &pieces(&wire, &cuts)), lines);
        }

        #[test]
        fn any_bytes_in_any_chunks_give_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![
                any::<u8>(), b'0'..=b'9', Just(b' '), Just(b'\n'), Just(b'<')
            ], 0..600),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
            framing in prop_oneof![Just(TcpFraming::Auto), Just(TcpFraming::Lines)],
        ) {
            let lines = read(framing, &pieces(&bytes, &cuts));
            prop_assert_eq!(&lines, &read(framing, &[&bytes]));
            prop_assert!(lines.last().is_none_or(|&byte| byte == b'\n'));
        }
    }
}
