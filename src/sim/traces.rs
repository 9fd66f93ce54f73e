//! Counts of requests over time, from a CSV file: an index column and a count column with a header.

/// Requests counted in bins of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// One for each bin, in order; at least one, none below 0.
    counts: Vec<f64>,
}

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A line does not hold an index and a count.
    #[error("line {line} is no `index,count`: {found:?}")]
    BadLine {
        /// 1-based.
        line: usize,
        /// Its text.
        found: String,
    },
    /// There is nothing but a header.
    #[error("there are no counts")]
    Empty,
}

impl Trace {
    /// Reads `index,count` lines after one header line. The index is not used but for being there.
    ///
    /// # Errors
    /// If a line is not understood, or there are none.
    pub fn from_csv(text: &str) -> Result<Self, TraceError> {
        let lines = text.lines().zip(1..).skip(1).filter(|(line, _)| !line.trim().is_empty());
        let counts = lines.map(|(text, line)| {
            let count = text.split_once(',').and_then(|(index, count)| {
                index.trim().parse::<f64>().ok().and(count.trim().parse::<f64>().ok())
            });
            let bad = || TraceError::BadLine { line, found: text.chars().take(80).collect() };
            count.filter(|count| count.is_finite() && *count >= 0.0).ok_or_else(bad)
        });
        let counts = counts.collect::<Result<Vec<f64>, TraceError>>()?;
        if counts.is_empty() { Err(TraceError::Empty) } else { Ok(Self { counts }) }
    }

    /// Bins.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Never: there is at least one bin.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The count that `percentile` (0 to 100) of the bins do not exceed.
    pub fn percentile(&self, percentile: f64) -> f64 {
        let mut sorted = self.counts.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (percentile / 100.0 * (sorted.len() - 1) as f64).round() as usize;
        sorted[place.min(sorted.len() - 1)]
    }

    /// The count at `place` bins from the start: linear between the centres of bins, level beyond the outer ones.
    pub fn at(&self, place: f64) -> f64 {
        let from_first = (place - 0.5).clamp(0.0, (self.counts.len() - 1) as f64);
        let (left, part) = (from_first as usize, from_first.fract());
        let right = (left + 1).min(self.counts.len() - 1);
        self.counts[left] + (self.counts[right] - self.counts[left]) * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_interpolated_between_the_centres_of_bins() {
        let trace = Trace::from_csv("minute,requests\n7,10\n8,30\n9,20\n").unwrap();
        let at = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0].map(|place| trace.at(place));
        assert_eq!(at, [10.0, 10.0, 20.0, 30.0, 25.0, 20.0, 20.0]);
        assert_eq!((trace.len(), trace.percentile(100.0), trace.percentile(50.0)), (3, 30.0, 20.0));
    }

    #[track_caller]
    fn check(text: &str, expected: TraceError) {
        assert_eq!(Trace::from_csv(text), Err(expected));
    }

    #[test]
    fn what_is_no_trace_is_told_by_its_line() {
        let bad = |line, found: &str| TraceError::BadLine { line, found: found.to_owned() };
        check("", TraceError::Empty);
        check("minute,requests\n", TraceError::Empty);
        check("minute,requests\n0,1\n1;2\n", bad(3, "1;2"));
        check("minute,requests\n0,-1\n", bad(2, "0,-1"));
        check("minute,requests\n0,inf\n", bad(2, "0,inf"));
        check("minute,requests\nx,1\n", bad(2, "x,1"));
    }
}
