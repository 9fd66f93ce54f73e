//! A line that was not understood, for people: why, the line, and a caret under the place.

use super::record::Origin;
use crate::core::log::error::LineError;

/// How much of a line is shown on either side of the place.
const SHOWN_CHARS: usize = 100;

/// Writes `file:line: why`, the line, and the caret.
pub(super) fn write(out: &mut Vec<u8>, origin: Origin<'_>, text: &[u8], error: LineError) {
    let file = origin.file.unwrap_or("-");
    let (before, after) = text.split_at(error.offset.min(text.len()));
    let (before, after) = (printable(before), printable(after));
    let hidden = before.chars().count().saturating_sub(SHOWN_CHARS);
    let cut_left = if hidden > 0 { "..." } else { "" };
    let shown_before: String = before.chars().skip(hidden).collect();
    let shown_after: String = after.chars().take(SHOWN_CHARS).collect();
    let cut_right = if after.chars().nth(SHOWN_CHARS).is_some() { "..." } else { "" };
    let indent = " ".repeat(cut_left.len() + shown_before.chars().count());
    let told = format!(
        "{file}:{}: {error}\n  {cut_left}{shown_before}{shown_after}{cut_right}\n  {indent}^\n",
        origin.line
    );
    out.extend_from_slice(told.as_bytes());
}

/// One column for each character, and nothing that a terminal would obey.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log::format::{Line, LineFormat};

    #[track_caller]
    fn check(line: &[u8], expected: &str) {
        let Line::Unparsed(error) = LineFormat::Auto.read(line) else { panic!("{line:?} was understood") };
        let mut out = Vec::new();
        write(&mut out, Origin { file: Some("a.log"), line: 7 }, line, error);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let line = "\u{e9}:5 [21/Nov/2026:09:31:50.191] fe be/s1 0/0/x/3/3 200 ";
        let (why, indent) = ("field Tc at byte 45 is not a whole number of milliseconds", " ".repeat(44));
        check(line.as_bytes(), &format!("a.log:7: {why}\n  {line}\n  {indent}^\n"));
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        check(
            b"\x1b[2J\xff",
            "a.log:7: line from byte 0 is neither a request nor a message of HAProxy's\n  \u{fffd}[2J\u{fffd}\n  ^\n",
        );
        check(b"", "a.log:7: line from byte 0 is empty\n  \n  ^\n");
    }

    #[test]
    fn of_a_long_line_the_place_is_shown() {
        let line = format!(
            "{}[21/Nov/2026:09:31:50.191] fe be/s1 0/0/x/3/3 {}",
            "x".repeat(300) + ":5 ",
            "y".repeat(300)
        );
        let Line::Unparsed(error) = LineFormat::Auto.read(line.as_bytes()) else { panic!("understood") };
        let mut out = Vec::new();
        write(&mut out, Origin { file: None, line: 1 }, line.as_bytes(), error);
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[1].chars().nth(lines[2].find('^').unwrap()), Some('x'), "{out}");
        assert!(lines[1].len() < 220, "{out}");
    }
}
