//! Names and values of attributes, as a search's editor offers them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tenantscope_model::Scope;

use super::decode::{COLUMNS, SpanRow};
use crate::answer::{TagScope, TimeRange};
use crate::logs::query::within;
use crate::traceql::{self, Field};
use crate::{Lake, QueryError};

/// So many spans are looked at; rare attributes of many spans may be missing.
const LOOKED_AT_SPANS: usize = 20_000;
const MAX_TAGS: usize = 1_000;

const INTRINSICS: [&str; 7] = ["duration", "kind", "name", "rootName", "rootServiceName", "status", "traceDuration"];

impl Lake {
    /// The names of tags by where they come from, sorted.
    pub async fn tags(
        &self,
        scope: &Scope,
        range: TimeRange,
    ) -> Result<BTreeMap<TagScope, BTreeSet<String>>, QueryError> {
        let mut tags: BTreeMap<TagScope, BTreeSet<String>> = BTreeMap::new();
        tags.insert(TagScope::Intrinsic, INTRINSICS.map(str::to_owned).into());
        let looking = self.look_at(scope, range, |span| {
            for (scope, json) in [(TagScope::Resource, &span.resource_attributes), (TagScope::Span, &span.attributes)] {
                let names = tags.entry(scope).or_default();
                if let Ok(Value::Object(map)) = serde_json::from_str(json) {
                    names.extend(map.keys().take(MAX_TAGS.saturating_sub(names.len())).cloned());
                }
            }
        });
        self.queries.run("tags", looking).await?;
        Ok(tags)
    }

    /// The values of one tag (as TraceQL names it, or bare as in Tempo's first API), sorted.
    pub async fn tag_values(&self, scope: &Scope, tag: &str, range: TimeRange) -> Result<BTreeSet<String>, QueryError> {
        let field = traceql::tag_field(tag)?;
        match field {
            Field::Status => return Ok(["error", "ok", "unset"].map(str::to_owned).into()),
            Field::Kind => {
                let kinds = ["client", "consumer", "internal", "producer", "server", "unspecified"];
                return Ok(kinds.map(str::to_owned).into());
            }
            _ => {}
        }
        let column = match field {
            Field::Name => Some("name"),
            Field::Service => Some("service"),
            Field::Tenant => Some("tenant"),
            Field::Account => Some("account_id"),
            Field::Region => Some("region"),
            _ => None,
        };
        if let Some(column) = column {
            let frame = self.queries.table(&self.spans, scope, range)?.filter(within(range))?;
            return Ok(self.queries.run("tags", self.distinct_text(frame, column)).await?.into_iter().collect());
        }
        let mut values = BTreeSet::new();
        let looking = self.look_at(scope, range, |span| {
            if values.len() < MAX_TAGS {
                values.extend(field.text(span).filter(|value| !value.is_empty()));
            }
        });
        self.queries.run("tags", looking).await?;
        Ok(values)
    }

    async fn look_at(&self, scope: &Scope, range: TimeRange, mut see: impl FnMut(&SpanRow)) -> Result<(), QueryError> {
        let frame = self.queries.table(&self.spans, scope, range)?.filter(within(range))?;
        let frame = frame.select_columns(&COLUMNS)?.limit(0, Some(LOOKED_AT_SPANS))?;
        self.queries
            .for_each(frame, |rows| {
                SpanRow::all(rows)?.for_each(|span| see(&span));
                Ok(())
            })
            .await
    }
}
