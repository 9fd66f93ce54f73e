//! What is different between two configurations, for people: lines that go and lines that come, with their numbers.

use std::collections::HashMap;

/// The lines of `old` that are not in `new`, and those of `new` that are not in `old`, by their numbers and each old
/// one before the new one: `7 - server s2 10.0.0.2:80 disabled`. At most `most` of them; what was left out is counted.
pub fn changes(old: &str, new: &str, most: usize) -> Vec<String> {
    let mut changed = missing(old, new, '-');
    changed.extend(missing(new, old, '+'));
    changed.sort_by_key(|&(number, sign, _)| (number, sign == '+'));
    let left_out = changed.len().saturating_sub(most);
    let mut lines: Vec<String> =
        changed.iter().take(most).map(|(n, sign, line)| format!("{n} {sign} {line}")).collect();
    if left_out > 0 {
        lines.push(format!("and {left_out} lines more"));
    }
    lines
}

/// The lines of `text` that `other` has not, or not so often, without the blanks around them.
fn missing<'a>(text: &'a str, other: &str, sign: char) -> Vec<(usize, char, &'a str)> {
    let mut there: HashMap<&str, usize> = HashMap::new();
    for line in other.lines() {
        *there.entry(line).or_default() += 1;
    }
    let lines = (1..).zip(text.lines()).filter(|(_, line)| match there.get_mut(line) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    });
    lines.map(|(number, line)| (number, sign, line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_go_and_come_are_told_with_their_numbers() {
        let (old, new) = ("a\n b x\nc\nc\n", "a\n b y\nc\nd\n");
        assert_eq!(changes(old, new, 9), ["2 - b x", "2 + b y", "4 - c", "4 + d"]);
        assert_eq!(changes(old, new, 2), ["2 - b x", "2 + b y", "and 2 lines more"]);
        assert_eq!(changes(old, old, 2), [""; 0]);
    }
}
