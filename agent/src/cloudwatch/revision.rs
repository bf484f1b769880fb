//! What was sent of the last minutes, since CloudWatch revises its datapoints: only what is new or differs goes out.

use std::collections::{BTreeMap, HashMap};

use super::mapping::Point;

/// The most datapoints that are remembered. One costs about 40 bytes.
const MAX_POINTS: usize = 400_000;

/// The values last sent, by series (a hash) and time.
#[derive(Debug, Default)]
pub(super) struct Sent {
    by_series: HashMap<u64, BTreeMap<i64, u64>>,
    points: usize,
}

impl Sent {
    /// The points that were not sent before with this very value.
    pub(super) fn news(&self, series: u64, points: &[Point]) -> Vec<Point> {
        let known = self.by_series.get(&series);
        let is_new = |point: &&Point| {
            let sent = known.and_then(|sent| sent.get(&point.at_ms));
            sent != Some(&point.value.to_bits())
        };
        points.iter().filter(is_new).copied().collect()
    }

    /// Remembers what was sent. When there is no room it is not remembered, and so sent again: never lost.
    pub(super) fn remember(&mut self, series: u64, points: &[Point]) {
        for point in points {
            let known = self.by_series.get(&series).is_some_and(|sent| sent.contains_key(&point.at_ms));
            if !known && self.points >= MAX_POINTS {
                continue;
            }
            self.by_series.entry(series).or_default().insert(point.at_ms, point.value.to_bits());
            self.points += usize::from(!known);
        }
    }

    /// Forgets what is older than what is asked for again.
    pub(super) fn forget_before(&mut self, at_ms: i64) {
        self.by_series.retain(|_, sent| {
            *sent = sent.split_off(&at_ms);
            !sent.is_empty()
        });
        self.points = self.by_series.values().map(BTreeMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revised_value_is_news_and_the_same_value_is_not() {
        let mut sent = Sent::default();
        let first = Point { at_ms: 60_000, value: 1.0 };
        assert_eq!(sent.news(7, &[first]), [first]);
        sent.remember(7, &[first]);
        assert_eq!(sent.news(7, &[first]), []);
        let revised = Point { value: 2.0, ..first };
        assert_eq!(sent.news(7, &[first, revised]), [revised]);
        assert_eq!(sent.news(8, &[first]), [first]);
        sent.forget_before(60_001);
        assert_eq!(sent.news(7, &[first]), [first]);
    }
}
