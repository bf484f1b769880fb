//! A histogram with its buckets by index, as arithmetic needs it.

use tenantscope_model::{Histogram, ResetHint};

use super::bucket::{Counts, bound, indexed, spans};
use super::{CUSTOM_SCHEMA, Incompatible};

#[derive(Debug, Clone)]
pub(super) struct Flat {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: f64,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) positive: Counts,
    pub(super) negative: Counts,
    pub(super) bounds: Vec<f64>,
    pub(super) hint: ResetHint,
}

impl Flat {
    pub(super) fn of(h: &Histogram) -> Self {
        Self {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count: h.zero_count,
            count: h.count,
            sum: h.sum,
            positive: indexed(&h.positive).collect(),
            negative: indexed(&h.negative).collect(),
            bounds: h.custom_bounds.clone(),
            hint: h.reset_hint,
        }
    }

    /// The memory that its buckets take, in bytes; a tree's entries have room to spare.
    pub(super) fn held_bytes(&self) -> usize {
        let entries = self.positive.len() + self.negative.len();
        entries * 2 * size_of::<(i32, f64)>() + size_of_val(self.bounds.as_slice())
    }

    pub(super) fn into_histogram(self) -> Histogram {
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive: spans(self.positive),
            negative: spans(self.negative),
            custom_bounds: self.bounds,
            reset_hint: self.hint,
        }
    }

    /// Nothing, in the same layout.
    pub(super) fn emptied(&self) -> Self {
        Self {
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Counts::new(),
            negative: Counts::new(),
            bounds: self.bounds.clone(),
            ..*self
        }
    }

    pub(super) fn each(&mut self, mut change: impl FnMut(&mut f64)) {
        let fields = [&mut self.zero_count, &mut self.count, &mut self.sum];
        fields.into_iter().chain(self.positive.values_mut()).chain(self.negative.values_mut()).for_each(&mut change);
    }

    pub(super) fn overflows(&self) -> bool {
        let fields = [self.zero_count, self.count, self.sum];
        let counts = self.positive.values().chain(self.negative.values()).copied();
        fields.into_iter().chain(counts).any(f64::is_infinite)
    }

    pub(super) fn reduce_to(&mut self, schema: i32) {
        let shift = self.schema - schema;
        if shift <= 0 {
            return;
        }
        let reduce = |counts: &Counts| {
            let mut reduced = Counts::new();
            for (&index, &count) in counts {
                *reduced.entry(((index - 1) >> shift.min(31)) + 1).or_default() += count;
            }
            reduced
        };
        self.positive = reduce(&self.positive);
        self.negative = reduce(&self.negative);
        self.schema = schema;
    }

    /// Widens the zero bucket to a threshold, or to the end of the populated bucket in which the threshold lies.
    pub(super) fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        let mut reached = threshold;
        loop {
            let sides = [&self.positive, &self.negative];
            let further = sides.into_iter().fold(reached, |end, counts| self.end_of_populated(counts, end));
            if further == reached {
                break;
            }
            reached = further;
        }
        let schema = self.schema;
        for counts in [&mut self.positive, &mut self.negative] {
            counts.retain(|&index, count| {
                let inside = bound(index - 1, schema) < reached;
                if inside {
                    self.zero_count += *count;
                }
                !inside
            });
        }
        self.zero_threshold = reached;
    }

    /// The end of the populated bucket in which a value lies; the value itself where it lies in none.
    fn end_of_populated(&self, counts: &Counts, value: f64) -> f64 {
        let ends = counts.iter().filter(|(_, count)| **count != 0.0).map(|(&index, _)| index);
        let around = |index: &i32| bound(index - 1, self.schema) < value && bound(*index, self.schema) > value;
        ends.into_iter().find(around).map_or(value, |index| bound(index, self.schema))
    }

    fn move_to_bounds(&mut self, bounds: &[f64]) {
        let mut moved = Counts::new();
        for (&index, &count) in &self.positive {
            let upper = usize::try_from(index).ok().and_then(|i| self.bounds.get(i)).copied().unwrap_or(f64::INFINITY);
            let target = bounds.partition_point(|b| *b < upper);
            *moved.entry(i32::try_from(target).unwrap_or(i32::MAX)).or_default() += count;
        }
        self.positive = moved;
        self.bounds = bounds.to_vec();
    }
}

/// Brings two histograms to the same layout; says whether custom bounds were reconciled.
pub(super) fn align(a: &mut Flat, b: &mut Flat) -> Result<bool, Incompatible> {
    if (a.schema == CUSTOM_SCHEMA) != (b.schema == CUSTOM_SCHEMA) {
        return Err(Incompatible);
    }
    if a.schema == CUSTOM_SCHEMA {
        if a.bounds == b.bounds {
            return Ok(false);
        }
        let common: Vec<f64> = a.bounds.iter().copied().filter(|bound| b.bounds.contains(bound)).collect();
        a.move_to_bounds(&common);
        b.move_to_bounds(&common);
        return Ok(true);
    }
    // Zero buckets first: their bounds are finer at the finer resolution.
    while a.zero_threshold != b.zero_threshold {
        let wider = a.zero_threshold.max(b.zero_threshold);
        a.widen_zero(wider);
        b.widen_zero(wider);
    }
    let schema = a.schema.min(b.schema);
    a.reduce_to(schema);
    b.reduce_to(schema);
    Ok(false)
}
