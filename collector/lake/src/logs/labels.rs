//! Names and values of stream labels.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::functions::expr_fn::octet_length;
use datafusion::functions_aggregate::expr_fn::{count, max, sum};
use datafusion::logical_expr::{cast, col, lit};
use tenantscope_model::Scope;

use super::row::{LABELS, integers, label_column, text};
use crate::answer::{LabelRequest, StreamVolume, TimeRange};
use crate::logql::{self, LogSelector};
use crate::{Lake, QueryError};

impl Lake {
    /// The names of labels that some record has, sorted.
    pub async fn log_label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<Vec<String>, QueryError> {
        let Some(frame) = self.labelled(scope, request)? else { return Ok(Vec::new()) };
        let greatest = LABELS.iter().map(|(_, column)| max(col(*column)).alias(*column)).collect();
        let frame = frame.aggregate(Vec::new(), greatest)?;
        let names = async {
            let mut names = Vec::new();
            self.queries
                .for_each(frame, |rows| {
                    for (name, column) in LABELS {
                        let values = text(rows, column)?;
                        if values.iter().flatten().any(|value| !value.is_empty()) {
                            names.push(name.to_owned());
                        }
                    }
                    Ok(())
                })
                .await?;
            Ok(names)
        };
        self.queries.run("log_labels", names).await
    }

    /// The values of one label, sorted; none for a label that no record has.
    pub async fn log_label_values(
        &self,
        scope: &Scope,
        label: &str,
        request: &LabelRequest<'_>,
    ) -> Result<Vec<String>, QueryError> {
        let Some(column) = label_column(label) else { return Ok(Vec::new()) };
        let Some(frame) = self.labelled(scope, request)? else { return Ok(Vec::new()) };
        self.queries.run("log_labels", self.distinct_text(frame, column)).await
    }

    /// The label sets of streams that fulfil any of the selectors.
    pub async fn log_series(
        &self,
        scope: &Scope,
        selectors: &[&str],
        range: TimeRange,
    ) -> Result<Vec<BTreeMap<String, String>>, QueryError> {
        let mut found = BTreeSet::new();
        for selector in selectors {
            let request = LabelRequest { selector: Some(selector), range };
            let Some(frame) = self.labelled(scope, &request)? else { continue };
            let columns = LABELS.iter().map(|(_, column)| col(*column)).collect();
            let frame = frame.aggregate(columns, Vec::new())?.limit(0, Some(self.options.max_series))?;
            let reading = self.queries.for_each(frame, |rows| {
                found.extend(label_sets(rows)?);
                Ok(())
            });
            self.queries.run("log_labels", reading).await?;
        }
        Ok(found.into_iter().take(self.options.max_series).collect())
    }

    /// How many lines and bytes each stream has that fulfils a selector, the largest first.
    pub async fn log_volume(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<Vec<StreamVolume>, QueryError> {
        let Some(frame) = self.labelled(scope, request)? else { return Ok(Vec::new()) };
        let columns = LABELS.iter().map(|(_, column)| col(*column)).collect();
        let bytes = cast(octet_length(col("body")), DataType::Int64);
        let sums = vec![count(lit(1_i64)).alias("lines"), sum(bytes).alias("bytes")];
        let frame = frame.aggregate(columns, sums)?.sort(vec![col("bytes").sort(false, false)])?;
        let frame = frame.limit(0, Some(self.options.max_series))?;
        let mut volumes = Vec::new();
        let reading = self.queries.for_each(frame, |rows| {
            let (lines, bytes) = (integers(rows, "lines")?, integers(rows, "bytes")?);
            for (row, labels) in label_sets(rows)?.into_iter().enumerate() {
                let whole = |values: &Int64Array| u64::try_from(values.value(row)).unwrap_or(0);
                volumes.push(StreamVolume { labels, lines: whole(lines), bytes: whole(bytes) });
            }
            Ok(())
        });
        self.queries.run("log_volume", reading).await?;
        Ok(volumes)
    }

    fn labelled(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<Option<DataFrame>, QueryError> {
        let everything = LogSelector { matchers: Vec::new(), stages: Vec::new() };
        let selector = request.selector.map_or(Ok(everything), logql::parse_selector)?;
        self.log_rows(scope, &selector, request.range)
    }

    /// The distinct values of a text column, sorted, the empty one left out.
    pub(crate) async fn distinct_text(&self, frame: DataFrame, column: &str) -> Result<Vec<String>, QueryError> {
        let frame = frame.filter(col(column).not_eq(lit("")))?.aggregate(vec![col(column)], Vec::new())?;
        let frame = frame.limit(0, Some(self.options.max_entries))?;
        let mut values = BTreeSet::new();
        self.queries
            .for_each(frame, |rows| {
                values.extend(text(rows, column)?.iter().flatten().map(str::to_owned));
                Ok(())
            })
            .await?;
        Ok(values.into_iter().collect())
    }
}

/// The labels of each row, absent ones left out.
fn label_sets(rows: &RecordBatch) -> Result<Vec<BTreeMap<String, String>>, QueryError> {
    let columns = LABELS.iter().map(|(name, column)| Ok((*name, text(rows, column)?)));
    let columns = columns.collect::<Result<Vec<_>, QueryError>>()?;
    let set = |row| {
        let pairs = columns.iter().map(|(name, values)| (*name, values.value(row)));
        let present = pairs.filter(|(_, value)| !value.is_empty());
        present.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    Ok((0..rows.num_rows()).map(set).collect())
}
