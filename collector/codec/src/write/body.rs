//! A remote write as it was read, in either version, and what reading the two has in common.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use tenantscope_model::{Claim, Exemplar, HistogramSample, Labels, Metadata, Sample};

use super::claiming::{ClaimText, Claims};
use super::cursor::{Fields, Malformed, Value, int64};
use super::memory::{Memory, SAMPLE_BYTES};
use super::text::{Place, Text};
use crate::claims::{ACCOUNT_LABEL, REGION_LABEL, TENANT_LABEL, is_own_name};
use crate::remote_write::NativeHistogram;
use crate::stamp::Rejected;
use crate::{DecodeError, footprint, native};

/// A body, read: flat lists, of which each series has a stretch.
#[derive(Debug, Clone)]
pub(crate) struct WriteBody {
    pub(crate) text: Text,
    pub(crate) series: Vec<SeriesEntry>,
    pub(crate) points: Points,
    pub(crate) families: Vec<FamilyEntry>,
    /// In order of first appearance; that of metadata beside the series, which is empty, last where there is some.
    pub(crate) claims: Vec<Claim>,
    /// What was left out already.
    pub(crate) rejected: Rejected,
    /// Samples and histograms that the body brought, whether they were left out or not.
    pub(crate) records: usize,
}

/// Values of all series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Points {
    pub(crate) samples: Vec<Sample>,
    pub(crate) histograms: Vec<HistogramSample>,
    pub(crate) exemplars: Vec<Exemplar>,
    /// As long as `samples` once one of them has a start.
    pub(crate) sample_starts_ms: Vec<i64>,
    /// The same of `histograms`.
    pub(crate) histogram_starts_ms: Vec<i64>,
}

/// A series with good labels.
#[derive(Debug, Clone)]
pub(crate) struct SeriesEntry {
    pub(crate) labels: Place,
    /// The labels' fingerprint before they are stamped.
    pub(crate) fingerprint: u128,
    /// The place of its claim.
    pub(crate) claim: u32,
    /// Whether its name is one of the collector's own.
    pub(crate) has_own_name: bool,
    pub(crate) samples: Place,
    pub(crate) histograms: Place,
    pub(crate) exemplars: Place,
}

/// What is said of a metric family.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FamilyEntry {
    pub(crate) family: Arc<str>,
    pub(crate) metadata: Metadata,
    /// The place of its claim.
    pub(crate) claim: u32,
}

/// Two bodies are the same if they say the same, whichever version they are.
impl PartialEq for WriteBody {
    fn eq(&self, other: &Self) -> bool {
        type One<'a> = (Vec<(String, String)>, u32, Vec<Sample>, Vec<i64>, &'a [HistogramSample], &'a [Exemplar]);
        fn one<'a>(body: &'a WriteBody, series: &SeriesEntry) -> One<'a> {
            let pairs = body.text.pairs(series.labels).into_iter();
            let mut labels: Vec<_> = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            labels.sort_unstable();
            let points = &body.points;
            let (samples, histograms) = (series.samples.of(&points.samples), series.histograms.of(&points.histograms));
            let starts_ms = points.starts_of(series).iter().chain(points.histogram_starts_of(series));
            (
                labels,
                series.claim,
                samples.to_vec(),
                starts_ms.copied().filter(|start_ms| *start_ms != 0).collect(),
                histograms,
                series.exemplars.of(&points.exemplars),
            )
        }
        self.claims == other.claims
            && self.families == other.families
            && self.rejected == other.rejected
            && self.records == other.records
            && self.series.len() == other.series.len()
            && self.series.iter().zip(&other.series).all(|(a, b)| one(self, a) == one(other, b))
    }
}

/// Why a body can't be read.
#[derive(Debug)]
pub(crate) enum Fault {
    Malformed(Malformed),
    /// A message of this release's own words.
    Wrong(&'static str),
    /// Too much of it.
    Memory(DecodeError),
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Memory(error)
    }
}

impl Fault {
    pub(super) fn into_error(self, form: &'static str) -> DecodeError {
        match self {
            Self::Malformed(malformed) => DecodeError::Form { form, message: malformed.to_string() },
            Self::Wrong(message) => DecodeError::Form { form, message: message.to_owned() },
            Self::Memory(error) => error,
        }
    }
}

/// How far the flat lists went before a series, to go back there if it is left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

impl Points {
    pub(super) fn expecting(series: usize) -> Self {
        Self { samples: Vec::with_capacity(series), ..Self::default() }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { samples: self.samples.len(), histograms: self.histograms.len(), exemplars: self.exemplars.len() }
    }

    pub(super) fn go_back(&mut self, mark: Mark) {
        self.samples.truncate(mark.samples);
        self.histograms.truncate(mark.histograms);
        self.exemplars.truncate(mark.exemplars);
        self.sample_starts_ms.truncate(mark.samples);
        self.histogram_starts_ms.truncate(mark.histograms);
    }

    pub(super) fn entry(&self, mark: Mark, labels: Place, fingerprint: u128, checked: Checked) -> SeriesEntry {
        SeriesEntry {
            labels,
            fingerprint,
            claim: checked.claim,
            has_own_name: checked.has_own_name,
            samples: place(mark.samples..self.samples.len()),
            histograms: place(mark.histograms..self.histograms.len()),
            exemplars: place(mark.exemplars..self.exemplars.len()),
        }
    }

    /// The starts of a series' samples; empty where none has one.
    pub(crate) fn starts_of(&self, series: &SeriesEntry) -> &[i64] {
        known(series.samples.of(&self.sample_starts_ms))
    }

    /// The starts of a series' histograms; empty where none has one.
    pub(crate) fn histogram_starts_of(&self, series: &SeriesEntry) -> &[i64] {
        known(series.histograms.of(&self.histogram_starts_ms))
    }

    /// Field 1 the value, 2 the time, 3 (of version 2.0) the start.
    #[inline]
    pub(super) fn read_sample(&mut self, message: &[u8], memory: &mut Memory) -> Result<(), Fault> {
        let mut sample = Sample { t_ms: 0, value: 0.0 };
        let mut start_ms = 0;
        for field in Fields::new(message) {
            match field? {
                (1, Value::Fixed64(bits)) => sample.value = f64::from_bits(bits),
                (2, Value::Varint(number)) => sample.t_ms = int64(number),
                (3, Value::Varint(number)) => start_ms = int64(number),
                (number @ 1..=3, _) => return Err(Malformed::Type(number).into()),
                _ => {}
            }
        }
        memory.charge(SAMPLE_BYTES)?;
        self.samples.push(sample);
        set_start(&mut self.sample_starts_ms, self.samples.len(), start_ms);
        Ok(())
    }

    /// Both versions have the same histograms. False where it is none that could be.
    pub(super) fn read_histogram(&mut self, message: &[u8], memory: &mut Memory) -> Result<bool, Fault> {
        let decoded_bytes = footprint::decoded_bytes(&footprint::NATIVE, message, memory.left_bytes());
        memory.charge(SAMPLE_BYTES + decoded_bytes.saturating_mul(2))?;
        let message =
            NativeHistogram::decode(message).map_err(|_| Fault::Wrong("a native histogram is no such message"))?;
        let Some(histogram) = native::from_sender(&message) else { return Ok(false) };
        self.histograms.push(HistogramSample { t_ms: message.timestamp, histogram: Arc::new(histogram) });
        set_start(&mut self.histogram_starts_ms, self.histograms.len(), message.start_timestamp);
        Ok(true)
    }

    /// Field 1 is for the caller, 2 the value, 3 the time.
    pub(super) fn push_exemplar(&mut self, message: &[u8], labels: Labels) -> Result<(), Fault> {
        let mut exemplar = Exemplar { t_ms: 0, value: 0.0, labels };
        for field in Fields::new(message) {
            match field? {
                (2, Value::Fixed64(bits)) => exemplar.value = f64::from_bits(bits),
                (3, Value::Varint(number)) => exemplar.t_ms = int64(number),
                (number @ 2..=3, _) => return Err(Malformed::Type(number).into()),
                _ => {}
            }
        }
        self.exemplars.push(exemplar);
        Ok(())
    }
}

fn known(starts_ms: &[i64]) -> &[i64] {
    if starts_ms.iter().all(|start_ms| *start_ms == 0) { &[] } else { starts_ms }
}

/// Sets the start of the last of `count` points; the list stays empty until one has a start.
#[inline]
fn set_start(starts_ms: &mut Vec<i64>, count: usize, start_ms: i64) {
    if start_ms != 0 || !starts_ms.is_empty() {
        starts_ms.resize(count, 0);
        if let Some(last) = starts_ms.last_mut() {
            *last = start_ms;
        }
    }
}

/// How many series a body probably has, told by its first one; bounded, since that may be the smallest.
pub(super) fn expected_series(body_bytes: usize, first_bytes: usize) -> usize {
    const MAX_EXPECTED: usize = 1 << 14;
    (body_bytes / first_bytes.max(1)).min(MAX_EXPECTED)
}

/// Bodies are bounded below 4 GiB, which is checked before anything is read.
pub(super) fn place(range: Range<usize>) -> Place {
    let end = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Place { start: end(range.start), end: end(range.end) }
}

/// What series' labels have to be, and what is learned while that is checked.
#[derive(Debug, Default)]
pub(super) struct LabelCheck<'a> {
    /// Empty before the first.
    previous: &'a [u8],
    is_unsorted: bool,
    has_metric_name: bool,
    has_own_name: bool,
    claim: ClaimText<'a>,
}

/// What good labels tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    /// The place of the claim.
    pub(super) claim: u32,
    pub(super) has_own_name: bool,
}

impl<'a> LabelCheck<'a> {
    /// Looks at one label after another; UTF-8 is the caller's affair. The error is a fixed word for a counter.
    #[inline]
    pub(super) fn label(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), &'static str> {
        let Some(first) = name.first() else { return Err("empty_label_name") };
        match self.previous.first() {
            // Nearly always the first letters tell.
            Some(before) if before < first => {}
            Some(before) if before == first => match self.previous.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Err(DUPLICATE),
                Ordering::Greater => self.is_unsorted = true,
            },
            Some(_) => self.is_unsorted = true,
            None => {}
        }
        self.previous = name;
        // No other length is one of ours.
        if matches!(name.len(), 6 | 8 | 10) && !value.is_empty() {
            match name {
                b"__name__" => {
                    self.has_metric_name = true;
                    self.has_own_name = is_own_name(value);
                }
                _ if name == TENANT_LABEL.as_bytes() => self.claim.tenant = Some(value),
                _ if name == ACCOUNT_LABEL.as_bytes() => self.claim.account = Some(value),
                _ if name == REGION_LABEL.as_bytes() => self.claim.region = Some(value),
                _ => {}
            }
        }
        Ok(())
    }

    /// What was found; `names` are all of the series', for those that do not come sorted.
    pub(super) fn finish(
        self,
        claims: &mut Claims,
        names: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Checked, &'static str> {
        if self.is_unsorted {
            let mut names: Vec<&[u8]> = names.collect();
            names.sort_unstable();
            if names.windows(2).any(|pair| pair.first() == pair.last()) {
                return Err(DUPLICATE);
            }
        }
        if !self.has_metric_name {
            return Err("no_metric_name");
        }
        Ok(Checked { claim: claims.place(self.claim), has_own_name: self.has_own_name })
    }
}

const DUPLICATE: &str = "duplicate_label";
/// Why a series with labels that are no text is left out.
pub(super) const NOT_UTF8: &str = "invalid_utf8";
