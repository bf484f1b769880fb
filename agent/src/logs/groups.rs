//! Which log groups are read.

use std::collections::BTreeSet;

use aws_sdk_cloudwatchlogs::Client;

use crate::aws::{self, CallError};
use crate::{config, telemetry};

/// A listing is done anew after this; one that found nothing, at once.
const REFRESH_MS: i64 = 60_000;
/// The most pages of one listing; a page has 50 groups.
const MAX_PAGES: usize = 100;

/// The groups that match, listed now and then.
#[derive(Debug, Default)]
pub(super) struct Groups {
    names: Vec<String>,
    refreshed_ms: Option<i64>,
}

impl Groups {
    pub(super) async fn names(
        &mut self,
        client: &Client,
        config: &config::Logs,
        now_ms: i64,
    ) -> Result<Vec<String>, CallError> {
        let fresh = self.refreshed_ms.is_some_and(|at| now_ms - at < REFRESH_MS);
        if !fresh || self.names.is_empty() {
            self.names = list(client, config).await?;
            self.refreshed_ms = Some(now_ms);
        }
        Ok(self.names.clone())
    }
}

async fn list(client: &Client, config: &config::Logs) -> Result<Vec<String>, CallError> {
    let mut names = BTreeSet::new();
    for pattern in &config.groups {
        let prefix = Some(pattern.literal_prefix()).filter(|prefix| !prefix.is_empty());
        let mut next_token = None;
        for _ in 0..MAX_PAGES {
            let request = client
                .describe_log_groups()
                .set_log_group_name_prefix(prefix.map(str::to_owned))
                .set_next_token(next_token);
            let answer = aws::call("logs", "DescribeLogGroups", request.send()).await?;
            let found = answer.log_groups().iter().filter_map(|group| group.log_group_name());
            names.extend(found.filter(|name| pattern.matches(name)).map(str::to_owned));
            next_token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next_token.is_none() {
                break;
            }
        }
    }
    let skipped = names.len().saturating_sub(config.max_groups);
    if skipped > 0 {
        telemetry::skipped("logs", "max_groups", skipped);
        tracing::warn!(skipped, max_groups = config.max_groups, "more log groups than sources.logs.max_groups");
    }
    Ok(names.into_iter().take(config.max_groups).collect())
}
