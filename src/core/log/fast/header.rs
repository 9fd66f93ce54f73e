//! Syslog headers that were seen, so that the next one like it need not be read.
//!
//! What is learned is which bytes are the header; the digits of a time of day in ISO 8601 may be others,
//! for rsyslog writes microseconds. Several are kept: logs of many hosts come together in one file.

use memchr::memchr;

use super::Window;
use crate::core::log::envelope::body_offset;
use crate::core::log::lanes::Pattern;

/// The header of the last line, and others.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    last: Header,
    /// None of them is empty.
    others: Vec<Header>,
    /// Which of them makes room for the next.
    oldest: usize,
}

/// Longer ones go the long way, as those with structured data do.
#[derive(Clone, Copy, Debug)]
struct Header {
    text: Pattern<4>,
    length: usize,
}

/// More than that take turns.
const MOST_OTHERS: usize = 15;

impl Headers {
    /// How long the header is of the line at the start of `text`, and of the window on it.
    #[inline(always)]
    pub(super) fn length(&mut self, window: &Window, text: &[u8]) -> Option<usize> {
        if !self.last.text.begins(window) {
            self.change(window, text)?;
        }
        Some(self.last.length)
    }

    /// Learns the header of `line`, a whole one, unless it is the last one's.
    pub(super) fn learn(&mut self, line: &[u8]) {
        // What begins like the last header may have a longer one; with an empty one, any line may.
        if self.last.length != body_offset(line) {
            self.learn_anew(line);
        }
    }

    #[cold]
    fn change(&mut self, window: &Window, text: &[u8]) -> Option<()> {
        if let Some(other) = self.others.iter_mut().find(|other| other.text.begins(window)) {
            std::mem::swap(other, &mut self.last);
            return Some(());
        }
        self.learn_anew(&text[..memchr(b'\n', text)?])
    }

    fn learn_anew(&mut self, line: &[u8]) -> Option<()> {
        let header = Header::of(line)?;
        let last = std::mem::replace(&mut self.last, header);
        if last.length > 0 && self.others.len() < MOST_OTHERS {
            self.others.push(last);
        } else if last.length > 0 {
            self.others[self.oldest] = last;
            self.oldest = (self.oldest + 1) % MOST_OTHERS;
        }
        Some(())
    }
}

impl Default for Header {
    /// One that no line has.
    fn default() -> Self {
        Self { text: Pattern::new(b"\n").unwrap_or_default(), length: 0 }
    }
}

impl Header {
    /// The one of `line`.
    fn of(line: &[u8]) -> Option<Self> {
        let header = &line[..body_offset(line)];
        let mut text = Pattern::new(header)?;
        for at in 0..header.len() {
            if let Some(length) = time_of_day_length(&header[at..]) {
                text.let_digits_differ(at + DATE..at + length);
            }
        }
        Some(Self { text, length: header.len() })
    }
}

/// `2026-11-21T`
const DATE: usize = 11;

/// Up to the blank behind `2026-11-21T09:31:50.191000+00:00`.
fn time_of_day_length(text: &[u8]) -> Option<usize> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', _, _, b':', ..] = text else {
        return None;
    };
    let is_date = [y1, y2, y3, y4, m1, m2, d1, d2].into_iter().all(u8::is_ascii_digit);
    is_date.then(|| memchr(b' ', text)).flatten()
}
