//! Pictures made of characters: a row for each figure, a column for each span of time.

/// Heights of a bar.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// `label |signs`, a line of a picture.
pub(super) fn row(label: &str, signs: impl Iterator<Item = char>) -> String {
    let line = format!("{label:>10} |{}", signs.collect::<String>());
    line.trim_end().to_owned() + "\n"
}

/// A bar as high as the part of the whole.
pub(super) fn bar(part: u64, whole: u64) -> char {
    level(part, whole, &BARS)
}

/// The sign for a part of a whole; the first one for nothing only.
pub(super) fn level(part: u64, whole: u64, signs: &[char]) -> char {
    let most = signs.len() as u64 - 1;
    let level = (part * most).div_ceil(whole.max(1));
    signs.get(level.min(most) as usize).copied().unwrap_or(' ')
}
