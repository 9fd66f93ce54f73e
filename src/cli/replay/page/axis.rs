//! Where figures lie on an axis, and which of them are written beside it.

use jiff::civil::DateTime;

/// Spans between two marks of time, seconds.
const STEPS_S: [i64; 18] = [
    1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];
/// More marks do not fit beside each other on a narrow page.
const MOST_MARKS: f64 = 8.0;
const DAY_S: i64 = 86_400;

/// Marks of time between `begins` (civil seconds) and `length_s` later: the share of the width, and the text.
pub(super) fn times(begins: i64, length_s: f64) -> Vec<(f64, String)> {
    let fits = |step: &&i64| length_s / **step as f64 <= MOST_MARKS;
    let step = STEPS_S.into_iter().find(|step| fits(&step)).unwrap_or(4 * 604_800);
    let first = (begins + step - 1).div_euclid(step) * step;
    let marks = (0..).map(|n| first + n * step).take_while(|at| ((at - begins) as f64) < length_s);
    marks.map(|at| ((at - begins) as f64 / length_s, label(at, step))).collect()
}

/// `09:30`, `09:30:15` where seconds count, and the date at midnight.
fn label(at: i64, step: i64) -> String {
    let time = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    // Four digits of a year, which is what lines have, are in its range.
    let time = time.checked_add(jiff::SignedDuration::from_secs(at)).unwrap_or(time);
    let form = match (at.rem_euclid(DAY_S), step) {
        (0, _) => "%-d %b",
        (_, ..60) => "%H:%M:%S",
        _ => "%H:%M",
    };
    time.strftime(form).to_string()
}

/// A logarithmic axis for latencies, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latencies {
    low: f64,
    high: f64,
}

impl Latencies {
    /// With room for all of `latencies` and `limit`.
    pub(super) fn of(latencies: impl Iterator<Item = f64>, limit: f64) -> Self {
        let limit = limit.max(1.0);
        let (low, high) = latencies
            .fold((limit / 2.0, limit * 2.0), |(low, high), ms| (low.min(ms.max(1.0)), high.max(ms * 1.1)));
        Self { low: low * 0.9, high }
    }

    /// From 0 at the top to 1 at the bottom.
    pub(super) fn place(self, ms: f64) -> f64 {
        let share = (ms.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        1.0 - share.min(1.0)
    }

    /// What is written beside it: powers of ten, and what lies between where there are few.
    pub(super) fn marks(self) -> Vec<f64> {
        let within = |ms: &f64| *ms > self.low * 1.1 && *ms < self.high * 0.97;
        let powers = || (0..9).map(|power| 10_f64.powi(power));
        let of = |steps: &'static [f64]| -> Vec<f64> {
            powers().flat_map(|power| steps.iter().map(move |step| step * power)).filter(within).collect()
        };
        [&[1.0, 2.0, 5.0][..], &[1.0, 3.0][..]]
            .into_iter()
            .map(of)
            .find(|marks| marks.len() <= 6)
            .unwrap_or_else(|| of(&[1.0]))
    }
}

/// Whole numbers from 0 to `high` or a little above, in round steps.
pub(super) fn counts(high: f64, most: usize) -> Vec<f64> {
    let steps = (0..12).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)));
    let step = steps.into_iter().find(|step| high / step <= most as f64).unwrap_or(high);
    (1..=most).map(|n| n as f64 * step).filter(|at| *at <= high).collect()
}

/// `80 ms`, `1.5 s`, `2 min`.
pub(super) fn duration(ms: f64) -> String {
    let (figure, unit) = match ms {
        ..1000.0 => (ms, "ms"),
        ..120_000.0 => (ms / 1000.0, "s"),
        _ => (ms / 60_000.0, "min"),
    };
    // Two digits are enough, and no more than are true.
    let digits = usize::from(unit != "ms" && figure < 10.0 && (figure * 10.0).round() % 10.0 != 0.0);
    format!("{figure:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20 06:00:00.
    const MORNING: i64 = 1_795_154_400;

    #[track_caller]
    fn check_times(begins: i64, length_s: f64, expected: &str) {
        let texts: Vec<_> = times(begins, length_s).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts.join(" "), expected);
    }

    #[test]
    fn times_are_marked_at_round_ones() {
        check_times(MORNING, 3600.0, "06:00 06:10 06:20 06:30 06:40 06:50");
        check_times(MORNING + 1, 30.0, "06:00:05 06:00:10 06:00:15 06:00:20 06:00:25 06:00:30");
        check_times(MORNING + 12 * 3600, 43_200.0, "18:00 20:00 22:00 21 Nov 02:00 04:00");
        check_times(MORNING, 0.5, "06:00:00");
    }

    #[test]
    fn latencies_lie_on_a_logarithmic_axis_around_the_limit() {
        let axis = Latencies::of([20.0, 900.0].into_iter(), 400.0);
        assert!(axis.place(20.0) < 1.0 && axis.place(990.0) <= 0.001, "{axis:?}");
        assert!(axis.place(100.0) > axis.place(400.0));
        assert_eq!(axis.marks(), [20.0, 50.0, 100.0, 200.0, 500.0]);
        assert_eq!(Latencies::of([0.0, 60_000.0].into_iter(), 100.0).marks().len(), 4);
        assert_eq!(axis.place(0.0), 1.0);
    }

    #[test]
    fn counts_are_marked_at_round_ones() {
        assert_eq!(counts(7.0, 4), [2.0, 4.0, 6.0]);
        assert_eq!(counts(160.0, 3), [100.0]);
        assert_eq!(counts(0.4, 3), Vec::<f64>::new());
    }

    #[test]
    fn durations_have_the_unit_that_reads_best() {
        let texts = [80.4, 999.0, 1000.0, 1500.0, 30_000.0, 600_000.0].map(duration);
        assert_eq!(texts, ["80 ms", "999 ms", "1 s", "1.5 s", "30 s", "10 min"]);
    }
}
