//! Results on standard output, for people and for programs.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::Failure;

/// Writes `text`. A reader that has gone away (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes `text`; on a terminal that is too narrow for a line, the rest of it goes below, further in.
pub(super) fn print_fitted(text: &str) -> Result<(), Failure> {
    print(&terminal_width().map_or_else(|| text.to_owned(), |width| fitted(text, width.max(LEAST_WIDTH))))
}

/// Of standard output; `None`: it is no terminal.
pub(super) fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0))
}

/// Below this, lines are left to the terminal.
const LEAST_WIDTH: usize = 60;

fn fitted(text: &str, width: usize) -> String {
    let mut fitted = String::new();
    for line in text.lines() {
        let (indent, hang) = indents(line);
        let mut at = 0;
        for word in line.split_inclusive(' ') {
            let length = visible(word.trim_end());
            if at > indent && at + length > width {
                fitted.truncate(fitted.trim_end_matches(' ').len());
                fitted.push('\n');
                at = hang.min(width / 2);
                fitted.extend(std::iter::repeat_n(' ', at));
            }
            fitted.push_str(word);
            at += visible(word);
        }
        fitted.push('\n');
    }
    fitted
}

/// Where `line` begins, and where what does not fit goes on: under its text, if that stands behind a mark (`warn  `, `-> `), else
/// further in.
fn indents(line: &str) -> (usize, usize) {
    let plain = plain(line);
    let blanks = |text: &str| text.chars().take_while(|&c| c == ' ').count();
    let indent = blanks(&plain);
    let rest = &plain[indent..];
    let mark = rest.find(' ').unwrap_or(rest.len());
    let gap = blanks(&rest[mark..]);
    let is_mark = indent == 0 && gap > 1 || rest.starts_with("-> ");
    (indent, if is_mark { indent + rest[..mark].chars().count() + gap } else { indent + 4 })
}

/// Characters of `text` that take room: colours do not.
fn visible(text: &str) -> usize {
    plain(text).chars().count()
}

/// `text` without colours.
fn plain(text: &str) -> String {
    let mut in_colour = false;
    let mut is_shown = |c: char| {
        let shown = !in_colour && c != '\x1b';
        in_colour = c == '\x1b' || (in_colour && c != 'm');
        shown
    };
    text.chars().filter(|&c| is_shown(c)).collect()
}

/// Writes `value` as indented JSON.
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

/// Whether standard output is a terminal, so that colour is welcome.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Rows in columns, each as wide as its widest cell; the first row is the heading.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// All columns but the first, which are numbers.
pub(super) fn flush_right(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let columns = rows.first().map_or(0, Vec::len);
    for column in 1..columns {
        let width = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell: &String| cell.chars().count())
            .max()
            .unwrap_or(0);
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            *cell = format!("{cell:>width$}");
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_too_long_for_the_terminal_goes_on_further_in() {
        let text =
            "app: 1 serving\n  hold: 20 req/s x 60 ms = 1.2 busy workers\n\n\x1b[32mok\x1b[0m  that it is\n";
        let expected = "app: 1 serving\n  hold: 20 req/s x 60\n      ms = 1.2 busy\n      workers\n\n\
                        \x1b[32mok\x1b[0m  that it is\n";
        assert_eq!(fitted(text, 22), expected);
        assert_eq!(fitted(text, 100), text);
        let word = "cannot-connect-to-/run/haproxy/admin.sock\n";
        assert_eq!(fitted(word, 10), word, "what has no gap is not broken");
    }

    #[test]
    fn what_follows_a_mark_goes_on_under_itself() {
        let text = "\x1b[33mwarn\x1b[0m  app: no check here on s1\n      -> add one to its line there\n";
        let expected = "\x1b[33mwarn\x1b[0m  app: no check\n      here on s1\n      -> add one to\n         its line\n         there\n";
        assert_eq!(fitted(text, 20), expected);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "bb".into()], vec!["ccc".into(), "d".into()]];
        assert_eq!(table(&rows), "a    bb\nccc  d\n");
        assert_eq!(table(&flush_right(rows.to_vec())), "a    bb\nccc   d\n");
    }
}
