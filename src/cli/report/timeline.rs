//! Latency over time: cells of a few seconds by octaves of latency, never more than fit on a screen.
//!
//! How long the log is is known only at its end, so cells begin as one second and double
//! whenever there are too many. A cell's time is a multiple of its width, so any two time axes
//! can be brought to the same one.

/// Cells side by side; a terminal of 80 columns shows them beside their labels.
pub(super) const MOST_CELLS: usize = 64;

/// Octaves of latency: 0, 1, 2 to 3, 4 to 7 ms, and so on; the last one is from 70 minutes up.
pub(super) const BANDS: usize = 24;

/// Which span of time is which cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Axis {
    /// The first cell's time in its own width.
    first: i64,
    /// How many there are.
    cells: usize,
    /// A cell is two to the power of this many seconds.
    doublings: u32,
}

/// What has to be done to what was counted by an older axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    from: Axis,
    to: Axis,
}

/// Requests of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    /// By octave of their last timer.
    pub(super) bands: [u32; BANDS],
    /// Those of them that failed.
    pub(super) failed: u32,
}

/// What one server did over time; empty cells at its end are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timeline(Vec<Cell>);

impl Axis {
    /// The cell of `second` from 1970, if it is on the axis.
    #[inline]
    pub(super) fn cell(&self, second: i64) -> Option<usize> {
        let cell = (second >> self.doublings).wrapping_sub(self.first);
        usize::try_from(cell).ok().filter(|&cell| cell < self.cells)
    }

    /// The first second, and how many each cell has.
    pub(super) fn begin_and_step(&self) -> (i64, i64) {
        (self.first << self.doublings, 1 << self.doublings)
    }

    /// How many cells.
    pub(super) fn cells(&self) -> usize {
        self.cells
    }

    /// Brings `second` onto the axis.
    pub(super) fn reach(&mut self, second: i64) -> Change {
        self.join(&Self { first: second, cells: 1, doublings: 0 })
    }

    /// Brings all of `other` onto the axis.
    pub(super) fn join(&mut self, other: &Self) -> Change {
        let from = *self;
        if from.cells == 0 {
            *self = *other;
            return Change { from, to: *self };
        }
        let (mut own, mut other) = (from, *other);
        while other.cells > 0 {
            let (less, more) = (own.doublings.min(other.doublings), own.doublings.max(other.doublings));
            (0..more - less).for_each(|_| if own.doublings < more { own.double() } else { other.double() });
            let first = own.first.min(other.first);
            let end = own.end().max(other.end());
            let cells = usize::try_from(end - first).unwrap_or(usize::MAX);
            if cells <= MOST_CELLS {
                own = Self { first, cells, ..own };
                break;
            }
            own.double();
        }
        *self = own;
        Change { from, to: own }
    }

    fn end(&self) -> i64 {
        self.first + self.cells as i64
    }

    fn double(&mut self) {
        let end = (self.end() + 1) >> 1;
        self.first >>= 1;
        self.cells = (end - self.first) as usize;
        self.doublings += 1;
    }
}

impl Change {
    /// Each cell stays where it is; there may be more of them behind.
    pub(super) fn is_none(&self) -> bool {
        let (from, to) = (self.from, self.to);
        from.cells == 0 || (from.first, from.doublings) == (to.first, to.doublings)
    }

    /// Where cell `at` of the older axis is on the newer.
    fn place(&self, at: usize) -> usize {
        let time = (self.from.first + at as i64) >> (self.to.doublings - self.from.doublings);
        usize::try_from(time - self.to.first).unwrap_or(0)
    }
}

impl Timeline {
    /// Counts a request of `ms` in `cell`.
    #[inline(always)]
    pub(super) fn add(&mut self, cell: usize, ms: u32, failed: bool) {
        if cell >= self.0.len() {
            self.0.resize(cell + 1, Cell::default());
        }
        let cell = &mut self.0[cell];
        // The number of its bits. Twice as many and one are never none, which some processors ask about.
        let band = (u64::BITS - 1 - (u64::from(ms) << 1 | 1).leading_zeros()) as usize;
        cell.bands[band.min(BANDS - 1)] += 1;
        cell.failed += u32::from(failed);
    }

    /// Brings what was counted from one axis to another.
    pub(super) fn change(&mut self, change: &Change) {
        if !change.is_none() {
            let old = std::mem::take(self);
            self.add_all(&old, change);
        }
    }

    /// Counts all that `other` has, which was counted by the axis that `change` is from.
    pub(super) fn add_all(&mut self, other: &Self, change: &Change) {
        for (at, theirs) in other.0.iter().enumerate() {
            let at = change.place(at);
            if at >= self.0.len() {
                self.0.resize(at + 1, Cell::default());
            }
            let own = &mut self.0[at];
            for (own, theirs) in own.bands.iter_mut().zip(theirs.bands) {
                *own = own.saturating_add(theirs);
            }
            own.failed = own.failed.saturating_add(theirs.failed);
        }
    }

    /// The cells, those at the end that are empty left out.
    pub(super) fn cells(&self) -> &[Cell] {
        &self.0
    }
}

impl Cell {
    /// All of them.
    pub(super) fn requests(&self) -> u64 {
        self.bands.iter().copied().map(u64::from).sum()
    }
}

/// The change from `from` to an axis that has all of it.
pub(super) fn change(from: Axis, to: Axis) -> Change {
    Change { from, to }
}

/// The least milliseconds of a band.
pub(super) fn band_begin(band: usize) -> u32 {
    if band == 0 { 0 } else { 1 << (band - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Counts requests at `seconds`, and what the cells then say, as (begin, requests).
    fn counted(seconds: &[i64]) -> (Axis, Timeline) {
        let (mut axis, mut timeline) = (Axis::default(), Timeline::default());
        for &second in seconds {
            if axis.cell(second).is_none() {
                timeline.change(&axis.reach(second));
            }
            timeline.add(axis.cell(second).expect("reached"), 5, false);
        }
        (axis, timeline)
    }

    #[track_caller]
    fn check(axis: Axis, timeline: &Timeline, seconds: &[i64]) {
        let (begin, step) = axis.begin_and_step();
        assert!(axis.cells() <= MOST_CELLS);
        for cell in 0..axis.cells() {
            let begin = begin + cell as i64 * step;
            let expected = seconds.iter().filter(|&&second| (begin..begin + step).contains(&second)).count();
            let found = timeline.cells().get(cell).map_or(0, Cell::requests);
            assert_eq!(found, expected as u64, "cell {cell} of {axis:?}");
        }
        let all: u64 = timeline.cells().iter().map(Cell::requests).sum();
        assert_eq!(all, seconds.len() as u64);
    }

    proptest! {
        #[test]
        fn every_request_is_in_the_cell_of_its_time(
            one in proptest::collection::vec(prop_oneof![0i64..100, 0i64..100_000, -5_000i64..0], 1..60),
            other in proptest::collection::vec(50_000i64..300_000, 1..60),
        ) {
            let ((mut axis, mut timeline), (other_axis, other_timeline)) = (counted(&one), counted(&other));
            check(axis, &timeline, &one);
            timeline.change(&axis.join(&other_axis));
            timeline.add_all(&other_timeline, &change(other_axis, axis));
            check(axis, &timeline, &[one, other].concat());
        }
    }

    #[test]
    fn years_apart_is_still_a_screen() {
        let seconds = [-62_167_219_200, 0, 253_402_300_799];
        let (axis, timeline) = counted(&seconds);
        check(axis, &timeline, &seconds);
    }
}
