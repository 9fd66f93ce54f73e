//! Values of the last seconds.

use std::collections::VecDeque;

/// Values younger than a span.
#[derive(Clone, Debug)]
pub(super) struct Recent<T> {
    span_s: f64,
    values: VecDeque<(f64, T)>,
}

impl<T: Copy> Recent<T> {
    pub(super) fn new(span_s: f64) -> Self {
        Self { span_s, values: VecDeque::new() }
    }

    /// Adds the value of now, and forgets those that are as old as the span.
    pub(super) fn add(&mut self, now_s: f64, value: T) {
        self.values.push_back((now_s, value));
        while self.values.front().is_some_and(|&(then_s, _)| now_s - then_s >= self.span_s) {
            self.values.pop_front();
        }
    }

    /// Those younger than `span_s` by the time of the newest, newest first.
    pub(super) fn within(&self, span_s: f64) -> impl Iterator<Item = T> {
        let newest_s = self.values.back().map_or(0.0, |&(then_s, _)| then_s);
        let young = self.values.iter().rev().take_while(move |&&(then_s, _)| newest_s - then_s < span_s);
        young.map(|&(_, value)| value)
    }

    /// All that are kept.
    pub(super) fn all(&self) -> impl Iterator<Item = T> {
        self.values.iter().map(|&(_, value)| value)
    }
}

/// The mean; 0 of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_old_as_the_span_is_gone() {
        let mut recent = Recent::new(3.0);
        for second in 0..5 {
            recent.add(f64::from(second), second);
        }
        assert_eq!(recent.all().collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(recent.within(2.0).collect::<Vec<_>>(), [4, 3]);
        assert_eq!(mean(recent.all().map(f64::from)), 3.0);
        assert_eq!(mean(std::iter::empty()), 0.0);
    }
}
