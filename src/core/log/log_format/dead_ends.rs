//! Which of the places where blocks may stand lead from the start of a line to its end.
//!
//! In: all places, each of which stands behind one of the block before it, as far as the bytes between
//! them tell. Out: the same, those marked that no reading of the whole line goes through. Costs a sorting of the
//! places, and where a value has more to be like than its bytes tell, a look at it for pairs of them.

use super::matching::Found;
use super::program::{Gap, Program};

/// Where there are more places, what stands between them is only looked at byte by byte: somebody has filled the
/// line with what looks like its end, and what is read of it will be in doubt.
pub(super) const MOST_LOOKED_AT: usize = 128;

impl Program {
    /// Marks places that no reading goes through.
    pub(super) fn drop_dead_ends(&self, text: &[u8], found: &mut Found) {
        let is_exact = found.places.len() <= MOST_LOOKED_AT;
        let mut bytes = std::mem::take(&mut found.ends);
        for (number, gap) in self.gaps.iter().enumerate().rev() {
            let good = found.places_of(number + 1).filter(|&at| found.places[at].is_good);
            bytes.clear();
            bytes.extend(good.map(|at| found.places[at].begin));
            for at in found.places_of(number) {
                let end = found.places[at].end;
                let behind = &bytes[bytes.partition_point(|&begin| begin < end + gap.least)..];
                found.places[at].is_good = gap.fits(text, behind.iter().map(|&begin| (end, begin)), is_exact);
            }
        }
        for (number, gap) in self.gaps.iter().enumerate() {
            let good = found.places_of(number).filter(|&at| found.places[at].is_good);
            bytes.clear();
            bytes.extend(good.map(|at| found.places[at].end));
            bytes.sort_unstable();
            for at in found.places_of(number + 1) {
                let begin = found.places[at].begin;
                let before = &bytes[..bytes.partition_point(|&end| end + gap.least <= begin)];
                found.places[at].is_good &=
                    gap.fits(text, before.iter().rev().map(|&end| (end, begin)), is_exact);
            }
        }
        found.ends = bytes;
    }
}

impl Gap {
    /// Whether the value can stand at one of `spans`, the shortest of which comes first.
    fn fits(&self, text: &[u8], mut spans: impl Iterator<Item = (usize, usize)>, is_exact: bool) -> bool {
        match self.shape {
            Some(_) if is_exact => spans.any(|(begin, end)| self.holds(text, begin, end)),
            Some(_) => spans.next().is_some(),
            // If a byte is none of the value's, it is in the longer ones too.
            None => spans.next().is_some_and(|(begin, end)| self.holds(text, begin, end)),
        }
    }
}
