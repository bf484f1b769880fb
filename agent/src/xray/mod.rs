//! X-Ray traces.
//!
//! ```text
//! GetTraceSummaries (overlapping windows) → BatchGetTraces in fives → segments not sent yet → OTLP spans → spool
//! ```
//! Windows go by the time of a trace's last update and overlap, so that a segment that comes late brings its trace up
//! again; then only what was not sent goes out. A repeated span does no harm: the collector knows spans by their ids.

mod document;
mod fields;
mod mapping;

use std::collections::BTreeSet;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_xray::Client;
use aws_sdk_xray::primitives::DateTime;
use aws_sdk_xray::types::{TimeRangeType, Trace, TraceSummary};
use tenantscope_model::Signal;
use tenantscope_wire::cloudwatch::trace_id;

use document::Segment;

use crate::aws::{self, CallError};
use crate::source::{Source, SourceError, Surroundings};
use crate::spool::{Key, Move};
use crate::{batch, config, telemetry};

/// What one BatchGetTraces takes.
const TRACES_PER_CALL: usize = 5;
/// GetTraceSummaries takes windows of up to six hours.
const LONGEST_WINDOW_MS: i64 = 6 * 3_600_000;
/// A window is not cut below this.
const SHORTEST_WINDOW_MS: i64 = 2_000;
/// X-Ray keeps traces for 30 days.
const KEPT_MS: i64 = 30 * 86_400_000;
/// A trace may have begun this long before its last update; what it sent is remembered for so long.
const LONGEST_TRACE_MS: i64 = 3_600_000;
/// The most pages of one window's summaries.
const MAX_PAGES: usize = 400;
/// How often one window asks for the traces that X-Ray did not get to.
const UNPROCESSED_ATTEMPTS: usize = 3;
/// The most spans of one batch.
const BATCH_SPANS: usize = 2_000;

/// The source for one region.
pub struct XrayTraces {
    client: Client,
    config: config::Xray,
    surroundings: Surroundings,
    key: String,
}

/// What is waiting to be handed over.
#[derive(Default)]
struct Portion {
    spans: Vec<opentelemetry_proto::tonic::trace::v1::ResourceSpans>,
    count: usize,
    seen: Vec<Key>,
}

impl XrayTraces {
    /// A source that speaks to the region of `aws`.
    pub fn new(aws: &SdkConfig, config: config::Xray, surroundings: Surroundings) -> Self {
        let key = format!("xray/{}", surroundings.origin.region);
        Self { client: Client::new(aws), config, surroundings, key }
    }

    async fn read_window(&mut self, summaries: Vec<TraceSummary>, end_ms: i64) -> Result<(), SourceError> {
        let mut revisions: Vec<(String, Key)> = summaries.iter().filter_map(summary_key).collect();
        let known = |(_, key): &(String, Key)| self.surroundings.spool.has_seen(&self.key, *key);
        let unchanged: BTreeSet<String> = revisions.iter().filter(|it| known(it)).map(|(id, _)| id.clone()).collect();
        revisions.retain(|(id, _)| !unchanged.contains(id));
        let ids: BTreeSet<String> = summaries
            .iter()
            .filter_map(TraceSummary::id)
            .filter(|id| !unchanged.contains(*id))
            .map(str::to_owned)
            .collect();
        let mut waiting: Vec<String> = ids.into_iter().collect();
        let mut portion = Portion::default();
        for _ in 0..UNPROCESSED_ATTEMPTS {
            let mut left = Vec::new();
            for asked in waiting.chunks(TRACES_PER_CALL) {
                let (traces, unprocessed) = self.traces(asked).await?;
                traces.iter().for_each(|trace| self.map(trace, &mut portion));
                let complete = |id: &String| asked.contains(id) && !unprocessed.contains(id);
                portion.seen.extend(revisions.iter().filter(|(id, _)| complete(id)).map(|(_, key)| *key));
                left.extend(unprocessed);
                if portion.count >= BATCH_SPANS {
                    // The position stays as it is until all of the window was handed over.
                    self.hand_over(std::mem::take(&mut portion), Move::default()).await?;
                }
            }
            waiting = left;
            if waiting.is_empty() {
                break;
            }
        }
        if !waiting.is_empty() {
            // The next rounds ask again for those within the overlap.
            telemetry::skipped("xray", "unprocessed", waiting.len());
            tracing::warn!(traces = waiting.len(), "x-ray did not get to some traces");
        }
        let floor_ms = end_ms - self.config.overlap.as_ms() - LONGEST_TRACE_MS;
        self.hand_over(portion, Move { position_ms: end_ms, floor_ms, ..Move::default() }).await
    }

    /// None where the window has more than is read at once.
    async fn summaries(&self, start_ms: i64, end_ms: i64) -> Result<Option<Vec<TraceSummary>>, CallError> {
        let mut summaries = Vec::new();
        let mut next_token = None;
        for _ in 0..MAX_PAGES {
            let request = self
                .client
                .get_trace_summaries()
                .start_time(DateTime::from_millis(start_ms))
                .end_time(DateTime::from_millis(end_ms))
                .time_range_type(TimeRangeType::Event)
                .set_filter_expression(self.config.filter.clone())
                .set_next_token(next_token);
            let answer = aws::call("xray", "GetTraceSummaries", request.send()).await?;
            next_token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            summaries.extend(answer.trace_summaries.unwrap_or_default());
            if next_token.is_none() {
                return Ok(Some(summaries));
            }
        }
        Ok(None)
    }

    /// Whole traces, and the ids that X-Ray did not get to.
    async fn traces(&self, ids: &[String]) -> Result<(Vec<Trace>, Vec<String>), CallError> {
        let mut traces = Vec::new();
        let mut unprocessed = Vec::new();
        let mut next_token = None;
        for _ in 0..MAX_PAGES {
            let request = self.client.batch_get_traces().set_trace_ids(Some(ids.to_vec())).set_next_token(next_token);
            let answer = aws::call("xray", "BatchGetTraces", request.send()).await?;
            next_token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            traces.extend(answer.traces.unwrap_or_default());
            unprocessed.extend(answer.unprocessed_trace_ids.unwrap_or_default());
            if next_token.is_none() {
                break;
            }
        }
        Ok((traces, unprocessed))
    }

    /// Adds the spans of the segments that were not sent yet.
    fn map(&self, trace: &Trace, portion: &mut Portion) {
        let mut segments = Vec::new();
        let mut unseen = Vec::new();
        for found in trace.segments() {
            let Some(text) = found.document() else { continue };
            let mut segment = match Segment::parse(text) {
                Ok(segment) => segment,
                Err(error) => {
                    telemetry::skipped("xray", "document", 1);
                    tracing::debug!(%error, trace = trace.id(), "segment document cannot be read");
                    continue;
                }
            };
            let trace_id = segment.trace_id.get_or_insert_with(|| trace.id().unwrap_or_default().to_owned());
            let start_ms = trace_id::xray_trace_start_ms(trace_id).unwrap_or(0);
            let key = Key::of(start_ms, &[trace_id, &segment.id, text]);
            unseen.push(Some(key).filter(|key| !self.surroundings.spool.has_seen(&self.key, *key)));
            segments.push(segment);
        }
        let is_unseen = |place: usize| unseen.get(place).is_some_and(Option::is_some);
        for mapped in mapping::spans(&self.surroundings.origin, &segments, is_unseen) {
            portion.count += mapped.count;
            portion.spans.push(mapped.spans);
        }
        portion.seen.extend(unseen.into_iter().flatten());
    }

    async fn hand_over(&self, portion: Portion, step: Move) -> Result<(), SourceError> {
        let step = Move { source: self.key.clone(), seen: portion.seen, ..step };
        if portion.spans.is_empty() {
            self.surroundings.spool.advance(&step);
            return Ok(());
        }
        let request = mapping::request(portion.spans);
        let batch = batch::pack(Signal::Spans, &request, portion.count, self.surroundings.compression)?;
        self.surroundings.spool.append_repeatable(&batch, &[step]).await?;
        Ok(())
    }
}

fn too_many_summaries() -> CallError {
    let message = format!("more than {MAX_PAGES} pages in {SHORTEST_WINDOW_MS} ms");
    CallError { service: "xray", operation: "GetTraceSummaries", code: None, message }
}

/// A trace in the revision that the summary tells; none where X-Ray does not tell revisions.
fn summary_key(summary: &TraceSummary) -> Option<(String, Key)> {
    let id = summary.id()?;
    let revision = Some(summary.revision()).filter(|revision| *revision > 0)?;
    let start_ms = trace_id::xray_trace_start_ms(id)?;
    Some((id.to_owned(), Key::of(start_ms, &["revision", id, &revision.to_string()])))
}

impl Source for XrayTraces {
    fn kind(&self) -> &'static str {
        "xray"
    }

    fn region(&self) -> &str {
        self.surroundings.origin.region.as_str()
    }

    fn interval(&self) -> Duration {
        self.config.interval.0
    }

    async fn round(&mut self, now_ms: i64) -> Result<(), SourceError> {
        let stored = self.surroundings.spool.position_ms(&self.key).filter(|position| *position > 0);
        let start_ms = match stored {
            Some(position_ms) => position_ms - self.config.overlap.as_ms(),
            None => now_ms - self.config.lookback.as_ms(),
        };
        let mut start_ms = start_ms.max(now_ms - KEPT_MS);
        let mut longest_ms = LONGEST_WINDOW_MS;
        while start_ms < now_ms {
            let end_ms = now_ms.min(start_ms + longest_ms);
            match self.summaries(start_ms, end_ms).await? {
                Some(summaries) => {
                    self.read_window(summaries, end_ms).await?;
                    start_ms = end_ms;
                }
                // To pass over the rest would lose it; shorter windows have fewer traces.
                None if end_ms - start_ms > SHORTEST_WINDOW_MS => longest_ms = (end_ms - start_ms) / 2,
                None => return Err(too_many_summaries().into()),
            }
        }
        telemetry::round("xray", true);
        Ok(())
    }
}
