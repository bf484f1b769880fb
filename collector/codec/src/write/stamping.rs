//! Remote write's series, stamped. Their labels stay text until somebody asks for them.

use std::sync::Arc;

use tenantscope_model::{
    Decision, Exemplar, FamilyMetadata, Fingerprint, HistogramSample, LabelSource, Labels, Sample, StampedBatch,
    StampedSeries, Starts, TenantId,
};

use super::body::{FamilyEntry, Points, SeriesEntry, WriteBody};
use super::fingerprint;
use super::text::StampedText;
use crate::claims::{exported_name, is_own_name};
use crate::labels::StampLabels;
use crate::stamp::{Origin, Rejected, Stamped, TOO_FAR_AHEAD};

/// What was decided about one claim.
struct Decided<'a> {
    stamp: Arc<StampLabels>,
    tenant: &'a TenantId,
    fingerprint: u128,
    /// Of the labels that make the claim, how many move for each series.
    moved_claims: u64,
}

pub(crate) fn stamp<'a>(body: WriteBody, origin: Origin, decision: impl Fn(usize) -> &'a Decision) -> Stamped {
    let WriteBody { text, series: entries, points, families, claims, mut rejected, .. } = body;
    let decided: Vec<Result<Decided<'_>, &'static str>> = claims
        .iter()
        .enumerate()
        .map(|(place, claim)| match decision(place) {
            Decision::Refuse { reason } => Err(*reason),
            Decision::Stamp(stamp) => {
                let labels = StampLabels::of(stamp);
                Ok(Decided {
                    fingerprint: labels.fingerprint(),
                    moved_claims: labels.moved_of(claim),
                    stamp: Arc::new(labels),
                    tenant: &stamp.tenant,
                })
            }
        })
        .collect();
    let stamps = decided.iter().map(|decided| decided.as_ref().ok().map(|d| Arc::clone(&d.stamp))).collect();
    let places = entries.iter().map(|entry| (entry.labels, entry.claim)).collect();
    let source: Arc<dyn LabelSource> = Arc::new(StampedText { text, places, stamps });
    let mut series = Vec::with_capacity(entries.len());
    let mut moved_claims = 0;
    for (number, entry) in (0u32..).zip(&entries) {
        match decided.get(entry.claim as usize) {
            Some(Ok(decided)) => {
                moved_claims += decided.moved_claims + u64::from(entry.has_own_name);
                let fingerprint = Fingerprint(fingerprint::joined(entry.fingerprint, decided.fingerprint));
                let labels = Labels::unmade(fingerprint, Arc::clone(&source), number);
                series.extend(series_of(labels, entry, &points, origin, &mut rejected));
            }
            Some(Err(reason)) => rejected.add(reason, entry.records()),
            None => rejected.add("undecided", entry.records()),
        }
    }
    let metadata = metadata_of(families, &decided);
    let batch = StampedBatch::Metrics { series, metadata };
    Stamped { rejected, moved_claims, ..Stamped::whole(batch) }
}

impl SeriesEntry {
    fn records(&self) -> usize {
        (self.samples.end - self.samples.start) as usize + (self.histograms.end - self.histograms.start) as usize
    }
}

/// `None` where nothing is left of it.
fn series_of(
    labels: Labels,
    entry: &SeriesEntry,
    points: &Points,
    origin: Origin,
    rejected: &mut Rejected,
) -> Option<StampedSeries> {
    let mut samples: Vec<Sample> = entry.samples.of(&points.samples).to_vec();
    let mut histograms: Vec<HistogramSample> = entry.histograms.of(&points.histograms).to_vec();
    let mut exemplars: Vec<Exemplar> = entry.exemplars.of(&points.exemplars).to_vec();
    let mut starts = Starts {
        samples_ms: points.starts_of(entry).to_vec(),
        histograms_ms: points.histogram_starts_of(entry).to_vec(),
    };
    let left_out = retain_in_time(&mut samples, &mut starts.samples_ms, origin, |sample| sample.t_ms)
        + retain_in_time(&mut histograms, &mut starts.histograms_ms, origin, |sample| sample.t_ms);
    rejected.add(TOO_FAR_AHEAD, left_out);
    exemplars.retain(|exemplar| origin.is_in_time(exemplar.t_ms));
    let is_empty = samples.is_empty() && histograms.is_empty() && exemplars.is_empty();
    (!is_empty).then_some(StampedSeries { labels, samples, histograms, starts, exemplars, cadence: None })
}

/// Says how many points were too far ahead; their starts go with them.
fn retain_in_time<T>(points: &mut Vec<T>, starts_ms: &mut Vec<i64>, origin: Origin, t_ms: impl Fn(&T) -> i64) -> usize {
    let before = points.len();
    if points.iter().all(|point| origin.is_in_time(t_ms(point))) {
        return 0;
    }
    let mut times = points.iter().map(|point| origin.is_in_time(t_ms(point))).collect::<Vec<_>>().into_iter();
    starts_ms.retain(|_| times.next().unwrap_or(false));
    points.retain(|point| origin.is_in_time(t_ms(point)));
    before - points.len()
}

fn metadata_of(families: Vec<FamilyEntry>, decided: &[Result<Decided<'_>, &'static str>]) -> Vec<FamilyMetadata> {
    let of = |family: FamilyEntry| {
        let decided = decided.get(family.claim as usize)?.as_ref().ok()?;
        let tenant = Some(decided.tenant.clone());
        let is_own = is_own_name(family.family.as_bytes());
        let name = if is_own { exported_name(&family.family).into() } else { family.family };
        Some(FamilyMetadata { tenant, family: name, metadata: family.metadata })
    };
    families.into_iter().filter_map(of).collect()
}
