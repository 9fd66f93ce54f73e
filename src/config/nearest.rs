//! The word that was probably meant.

/// The one of `known` that is nearest to `word`; `None` if none is near.
///
/// Near: at most a third of the letters are wrong, left out, too many, or swapped with the next;
/// capitals count as small letters.
pub fn nearest<'a>(word: &str, known: &'a [String]) -> Option<&'a str> {
    let near = |known: &'a String| {
        let edits = distance(&word.to_lowercase(), &known.to_lowercase());
        (edits <= known.chars().count() / 3).then_some((edits, known))
    };
    // A longer word is no key with a slip in it; and the distance is quadratic.
    if word.len() > 64 {
        return None;
    }
    known.iter().filter_map(near).min_by_key(|&(edits, _)| edits).map(|(_, known)| known.as_str())
}

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, known: &str, expected: Option<&str>) {
        let known: Vec<String> = known.split(' ').map(str::to_owned).collect();
        assert_eq!(nearest(word, &known), expected, "{word:?}");
    }

    #[test]
    fn a_slip_is_understood() {
        check("timr", "timer percentile below", Some("timer"));
        check("tiemr", "timer percentile below", Some("timer"));
        check("perecntil", "timer percentile below", Some("percentile"));
        check("scaleup", "scale_down scale_up", Some("scale_up"));
        check("mni", "min max", Some("min"));
        check("tt", "TR Tw Tc Tr Tt", Some("Tt"));
        check("get", "GET HEAD", Some("GET"));
    }

    #[test]
    fn another_word_is_not_taken_for_a_slip() {
        check("model", "threshold", None);
        check("zzz", "timer below", None);
        check("Tx", "TR Tw Tc Tr Tt", None);
        check("", "timer below", None);
        check("x", "a b", None);
        check(&"min".repeat(100_000), "min max", None);
    }
}
