//! CloudWatch Logs.
//!
//! ```text
//! DescribeLogGroups → groups that match → FilterLogEvents from each group's floor → unseen events → OTLP logs → spool
//! ```
//! Each round reads a group from its floor, which lies `overlap` behind the last round, and hands over what it has not
//! handed over before: so an event that comes late, with a time in the past, is found.
//!
//! # Invariants
//! - Every event once: an event and the memory of it go into the spool in one record.
//! - What is behind the floor is not forgotten before the floor has passed it.

mod groups;
mod mapping;

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::Client;
use futures::StreamExt;
use tenantscope_model::Signal;

use groups::Groups;
use mapping::Event;

use crate::aws::{self, CallError};
use crate::source::{Source, SourceError, Surroundings};
use crate::spool::{Key, Move};
use crate::{batch, config, telemetry};

/// Groups that are read at the same time.
const CONCURRENT_GROUPS: usize = 4;
/// The most events of one page; FilterLogEvents' own most, and the most of one batch.
const PAGE_EVENTS: i32 = 5_000;
/// The most pages of one group in one round; the next round goes on.
const MAX_PAGES: usize = 200;
/// The most bytes of lines in one batch.
const BATCH_BYTES: usize = 2 << 20;

/// The source for one region.
pub struct CloudWatchLogs {
    reader: GroupReader,
    config: config::Logs,
    groups: Groups,
}

struct GroupReader {
    client: Client,
    surroundings: Surroundings,
    overlap_ms: i64,
    lookback_ms: i64,
}

impl CloudWatchLogs {
    /// A source that speaks to the region of `aws`.
    pub fn new(aws: &SdkConfig, config: config::Logs, surroundings: Surroundings) -> Self {
        let reader = GroupReader {
            client: Client::new(aws),
            surroundings,
            overlap_ms: config.overlap.as_ms(),
            lookback_ms: config.lookback.as_ms(),
        };
        Self { reader, config, groups: Groups::default() }
    }
}

impl Source for CloudWatchLogs {
    fn kind(&self) -> &'static str {
        "logs"
    }

    fn region(&self) -> &str {
        self.reader.surroundings.origin.region.as_str()
    }

    fn interval(&self) -> Duration {
        self.config.interval.0
    }

    async fn round(&mut self, now_ms: i64) -> Result<(), SourceError> {
        let groups = self.groups.names(&self.reader.client, &self.config, now_ms).await?;
        let reader = &self.reader;
        let read = |group: String| async move { reader.read(&group, now_ms).await };
        let mut outcomes = futures::stream::iter(groups).map(read).buffer_unordered(CONCURRENT_GROUPS);
        // One group that fails must not keep the others from being read.
        let mut first_error = None;
        while let Some(outcome) = outcomes.next().await {
            if let Err(error) = outcome {
                first_error.get_or_insert(error);
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => {
                telemetry::round("logs", true);
                Ok(())
            }
        }
    }
}

impl GroupReader {
    async fn read(&self, group: &str, now_ms: i64) -> Result<(), SourceError> {
        let spool = &self.surroundings.spool;
        let source = format!("logs/{}/{group}", self.surroundings.origin.region);
        let first_ms = now_ms - self.lookback_ms;
        let floor_ms = spool.floor_ms(&source).unwrap_or(first_ms);
        let mut newest_ms = spool.position_ms(&source).unwrap_or(first_ms);
        let mut read_to_ms = floor_ms;
        let mut next_token = None;
        for _ in 0..MAX_PAGES {
            let (events, token) = self.page(group, floor_ms, now_ms, next_token).await?;
            newest_ms = events.iter().map(|event| event.at_ms).fold(newest_ms, i64::max);
            read_to_ms = events.iter().map(|event| event.at_ms).fold(read_to_ms, i64::max);
            let unseen: Vec<(Event, Key)> = events
                .into_iter()
                .map(|event| {
                    let key = key(group, &event);
                    (event, key)
                })
                .filter(|(_, key)| !spool.has_seen(&source, *key))
                .collect();
            for portion in portions(unseen) {
                self.hand_over(group, &source, newest_ms, floor_ms, portion).await?;
            }
            next_token = token;
            if next_token.is_none() {
                // All of it was read: the next round need not look further back than late events come.
                let floor_ms = floor_ms.max(now_ms - self.overlap_ms);
                spool.advance(&Move { source, position_ms: newest_ms, floor_ms, seen: Vec::new() });
                return Ok(());
            }
        }
        // Events come in the order of their time, so the next round begins with the last one's: from the floor it would
        // read the same pages again, for ever.
        let floor_ms = read_to_ms.min(now_ms - self.overlap_ms).max(floor_ms);
        spool.advance(&Move { source, position_ms: i64::MIN, floor_ms, seen: Vec::new() });
        tracing::warn!(group, pages = MAX_PAGES, "log group has more than one round reads, going on with the next");
        Ok(())
    }

    async fn page(
        &self,
        group: &str,
        start_ms: i64,
        end_ms: i64,
        next_token: Option<String>,
    ) -> Result<(Vec<Event>, Option<String>), CallError> {
        let request = self
            .client
            .filter_log_events()
            .log_group_name(group)
            .start_time(start_ms)
            .end_time(end_ms)
            .limit(PAGE_EVENTS)
            .set_next_token(next_token);
        let answer = aws::call("logs", "FilterLogEvents", request.send()).await?;
        let token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
        let events = answer.events.unwrap_or_default().into_iter().map(|event| Event {
            stream: event.log_stream_name.unwrap_or_default(),
            id: event.event_id.unwrap_or_default(),
            at_ms: event.timestamp.unwrap_or(end_ms),
            ingested_ms: event.ingestion_time.or(event.timestamp).unwrap_or(end_ms),
            message: event.message.unwrap_or_default(),
        });
        Ok((events.collect(), token))
    }

    async fn hand_over(
        &self,
        group: &str,
        source: &str,
        position_ms: i64,
        floor_ms: i64,
        portion: Vec<(Event, Key)>,
    ) -> Result<(), SourceError> {
        let (events, seen): (Vec<Event>, Vec<Key>) = portion.into_iter().unzip();
        let request = mapping::request(&self.surroundings.origin, group, &events);
        let batch = batch::pack(Signal::Logs, &request, events.len(), self.surroundings.compression)?;
        let step = Move { source: source.to_owned(), position_ms, floor_ms, seen };
        self.surroundings.spool.append_repeatable(&batch, &[step]).await?;
        Ok(())
    }
}

/// AWS's event ids are unique; those of emulators are counters, so stream and time go in too.
fn key(group: &str, event: &Event) -> Key {
    Key::of(event.at_ms, &[group, &event.stream, &event.id])
}

/// Cuts a page into portions of bounded size.
fn portions(events: Vec<(Event, Key)>) -> Vec<Vec<(Event, Key)>> {
    let mut portions = Vec::new();
    let mut current = Vec::new();
    let mut bytes = 0;
    for (event, key) in events {
        if bytes + event.message.len() > BATCH_BYTES && !current.is_empty() {
            portions.push(std::mem::take(&mut current));
            bytes = 0;
        }
        bytes += event.message.len();
        current.push((event, key));
    }
    if !current.is_empty() {
        portions.push(current);
    }
    portions
}
