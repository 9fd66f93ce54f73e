//! The words of a line of HAProxy's configuration, with their places.
//!
//! Quoting is HAProxy's (configuration manual 2.2); variables stay as they are written, and nothing is refused: whether
//! the line is right is HAProxy's to say.

use std::ops::Range;

/// A word, unquoted, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Its bytes in the line, quotes included.
    pub(crate) at: Range<usize>,
    /// What it says. Bytes that are no UTF-8 are replaced: no keyword has them.
    pub(crate) text: String,
}

/// The words of `line`, up to a comment.
pub(crate) fn words(line: &[u8]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<(usize, Vec<u8>)> = None;
    let mut quote = None;
    let mut at = 0;
    let mut end = |word: &mut Option<(usize, Vec<u8>)>, at: usize| {
        if let Some((start, bytes)) = word.take() {
            words.push(Word { at: start..at, text: String::from_utf8_lossy(&bytes).into_owned() });
        }
    };
    while let Some(&byte) = line.get(at) {
        let next = line.get(at + 1).copied();
        match (quote, byte) {
            (None, b' ' | b'\t' | b'\r' | b'\n') => end(&mut word, at),
            (None, b'#') => break,
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert((at, Vec::new()));
            }
            (Some(open), byte) if open == byte => quote = None,
            (None | Some(b'"'), b'\\') if next.is_some_and(|next| !matches!(next, b'\r' | b'\n')) => {
                word.get_or_insert((at, Vec::new())).1.extend(next);
                at += 1;
            }
            _ => word.get_or_insert((at, Vec::new())).1.push(byte),
        }
        at += 1;
    }
    end(&mut word, at);
    words
}
