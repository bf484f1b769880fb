//! Delta to cumulative: running totals of series that come as deltas.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use tenantscope_model::{Histogram, Labels, TenantId};

use crate::claims::TENANT_LABEL;
use crate::exponential::add_histogram;
use crate::native;
use crate::own::labels_of;
use crate::remote_write::{LabelPair, NativeHistogram};

/// The first byte of the accumulators' bytes: their version.
const VERSION: u8 = 1;

/// Running totals, bounded in number. Kept and written down by the caller, changed in journal order only.
#[derive(Debug, Clone, PartialEq)]
pub struct Accumulators {
    max_series: usize,
    totals: HashMap<Labels, Total>,
}

/// What one batch changes; see [`crate::Stamped::deltas`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Deltas(HashMap<Labels, Total>);

impl Deltas {
    /// Whether the batch had no deltas.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves out a tenant's series.
    pub fn leave_out_tenant(&mut self, tenant: &TenantId) {
        self.0.retain(|labels, _| labels.get(TENANT_LABEL) != Some(tenant.as_str()));
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Total {
    /// When the first delta's time began; 0 where it is not known.
    start_ms: i64,
    last_ms: i64,
    value: TotalValue,
}

/// A delta: what came between two times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    /// Milliseconds since the epoch; 0 where it is not known.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TotalValue {
    Number(f64),
    Explicit(ExplicitTotal),
    Native(Histogram),
}

/// A classic histogram: counts of the buckets themselves, one more than there are bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ExplicitTotal {
    pub(crate) bounds: Vec<f64>,
    pub(crate) counts: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) sum: Option<f64>,
}

/// Why bytes are no accumulators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("accumulators cannot be read: {0}")]
pub struct AccumulatorsError(String);

impl Accumulators {
    /// Keeps at most so many series; points of further ones are rejected.
    pub fn new(max_series: usize) -> Self {
        Self { max_series, totals: HashMap::new() }
    }

    /// How many series are kept.
    pub fn len(&self) -> usize {
        self.totals.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.totals.is_empty()
    }

    /// Takes over what a batch changed.
    pub fn commit(&mut self, deltas: Deltas) {
        self.totals.extend(deltas.0);
    }

    /// Forgets series whose last point is before `before_ms`; a later point starts anew, which reads as a reset.
    pub fn expire(&mut self, before_ms: i64) {
        self.totals.retain(|_, total| total.last_ms >= before_ms);
    }

    /// How many series of a tenant are kept.
    pub fn count_of(&self, tenant: &TenantId) -> usize {
        self.totals.keys().filter(|labels| labels.get(TENANT_LABEL) == Some(tenant.as_str())).count()
    }

    /// Forgets a tenant's series.
    pub fn forget_tenant(&mut self, tenant: &TenantId) {
        self.totals.retain(|labels, _| labels.get(TENANT_LABEL) != Some(tenant.as_str()));
    }

    /// For the state file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let message = AccumulatorsMessage { totals: self.totals.iter().map(TotalMessage::from).collect() };
        let mut bytes = vec![VERSION];
        // Only a buffer that cannot grow makes this fail.
        let _ = message.encode(&mut bytes);
        bytes
    }

    /// From the state file; more series than the bound are kept, since they were accepted.
    pub fn from_bytes(mut bytes: Bytes, max_series: usize) -> Result<Self, AccumulatorsError> {
        if bytes.first() != Some(&VERSION) {
            return Err(AccumulatorsError(format!("version {:?}, known is {VERSION}", bytes.first())));
        }
        let message =
            AccumulatorsMessage::decode(bytes.split_off(1)).map_err(|error| AccumulatorsError(error.to_string()))?;
        let totals = message.totals.into_iter().map(TotalMessage::into_total).collect::<Option<_>>();
        let totals = totals.ok_or_else(|| AccumulatorsError("a total has no value".to_owned()))?;
        Ok(Self { max_series, totals })
    }
}

/// Accumulators as a batch sees them while it is stamped: its own changes over what is committed.
pub(crate) struct Accumulation<'a> {
    base: &'a Accumulators,
    changed: HashMap<Labels, Total>,
    created: usize,
}

impl<'a> Accumulation<'a> {
    pub(crate) fn over(base: &'a Accumulators) -> Self {
        Self { base, changed: HashMap::new(), created: 0 }
    }

    pub(crate) fn into_deltas(self) -> Deltas {
        Deltas(self.changed)
    }

    /// Adds a delta and gives the new total and when its counting began; the error is the reason for which the point is
    /// rejected.
    pub(crate) fn add(
        &mut self,
        labels: &Labels,
        interval: Interval,
        delta: TotalValue,
    ) -> Result<(TotalValue, i64), &'static str> {
        let known = self.changed.get(labels).or_else(|| self.base.totals.get(labels));
        let mut start_ms = interval.start_ms;
        let value = match known {
            Some(total) if interval.end_ms <= total.last_ms => return Err("delta_out_of_order"),
            Some(total) => match sum_of(&total.value, &delta) {
                Some(sum) => {
                    start_ms = total.start_ms;
                    sum
                }
                None => delta,
            },
            None if self.base.totals.len() + self.created >= self.base.max_series => return Err("delta_series_limit"),
            None => {
                self.created += 1;
                delta
            }
        };
        let total = Total { start_ms, last_ms: interval.end_ms, value: value.clone() };
        self.changed.insert(labels.clone(), total);
        Ok((value, start_ms))
    }
}

/// `None` where the total is of another kind, or has other bounds, so that it starts anew.
fn sum_of(total: &TotalValue, delta: &TotalValue) -> Option<TotalValue> {
    Some(match (total, delta) {
        (TotalValue::Number(total), TotalValue::Number(delta)) => TotalValue::Number(total + delta),
        (TotalValue::Explicit(total), TotalValue::Explicit(delta))
            if total.bounds == delta.bounds && total.counts.len() == delta.counts.len() =>
        {
            let counts = total.counts.iter().zip(&delta.counts).map(|(a, b)| a.saturating_add(*b)).collect();
            TotalValue::Explicit(ExplicitTotal {
                counts,
                count: total.count.saturating_add(delta.count),
                sum: total.sum.zip(delta.sum).map(|(a, b)| a + b),
                bounds: delta.bounds.clone(),
            })
        }
        (TotalValue::Native(total), TotalValue::Native(delta)) => TotalValue::Native(add_histogram(total, delta)),
        _ => return None,
    })
}

#[derive(Clone, PartialEq, Message)]
struct AccumulatorsMessage {
    #[prost(message, repeated, tag = "1")]
    totals: Vec<TotalMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct TotalMessage {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(int64, tag = "2")]
    last_ms: i64,
    #[prost(double, optional, tag = "3")]
    number: Option<f64>,
    #[prost(message, optional, tag = "4")]
    explicit: Option<ExplicitMessage>,
    #[prost(message, optional, tag = "5")]
    native: Option<NativeHistogram>,
    #[prost(int64, tag = "6")]
    start_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExplicitMessage {
    #[prost(double, repeated, tag = "1")]
    bounds: Vec<f64>,
    #[prost(uint64, repeated, tag = "2")]
    counts: Vec<u64>,
    #[prost(uint64, tag = "3")]
    count: u64,
    #[prost(double, optional, tag = "4")]
    sum: Option<f64>,
}

impl From<(&Labels, &Total)> for TotalMessage {
    fn from((labels, total): (&Labels, &Total)) -> Self {
        let pair = |label: &tenantscope_model::Label| LabelPair {
            name: label.name.to_string(),
            value: label.value.to_string(),
        };
        let (last_ms, start_ms) = (total.last_ms, total.start_ms);
        let mut message = Self { labels: labels.iter().map(pair).collect(), last_ms, start_ms, ..Self::default() };
        match &total.value {
            TotalValue::Number(number) => message.number = Some(*number),
            TotalValue::Native(histogram) => message.native = Some(native::to_message(histogram, total.last_ms)),
            TotalValue::Explicit(explicit) => {
                message.explicit = Some(ExplicitMessage {
                    bounds: explicit.bounds.clone(),
                    counts: explicit.counts.clone(),
                    count: explicit.count,
                    sum: explicit.sum,
                });
            }
        }
        message
    }
}

impl TotalMessage {
    fn into_total(self) -> Option<(Labels, Total)> {
        let value = if let Some(number) = self.number {
            TotalValue::Number(number)
        } else if let Some(e) = self.explicit {
            TotalValue::Explicit(ExplicitTotal { bounds: e.bounds, counts: e.counts, count: e.count, sum: e.sum })
        } else {
            TotalValue::Native(native::from_message(&self.native?)?)
        };
        Some((labels_of(&self.labels), Total { start_ms: self.start_ms, last_ms: self.last_ms, value }))
    }
}
