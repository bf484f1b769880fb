//! Names and values of stream labels.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::functions::expr_fn::octet_length;
use datafusion::functions_aggregate::expr_fn::{count, max, sum};
use datafusion::logical_expr::{cast, col, lit};
use tenantscope_model::Scope;

use super::row::{LABELS, integers, text};
use super::stream::{self, RESOURCE, Resource};
use crate::answer::{LabelRequest, StreamVolume, TimeRange};
use crate::logql::{self, LogSelector};
use crate::{Lake, QueryError};

/// So many different resources are looked at for their labels.
const MAX_RESOURCES: usize = 50_000;

impl Lake {
    /// The names of labels that some record has, sorted; where there are very many resources, of some of these.
    pub async fn log_label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<Vec<String>, QueryError> {
        let greatest = LABELS.iter().map(|(_, column)| max(col(*column)).alias(*column)).collect();
        let columns = self.labelled(scope, request)?.aggregate(Vec::new(), greatest)?;
        let resources = self.labelled(scope, request)?.aggregate(vec![col(RESOURCE)], Vec::new())?;
        let resources = resources.limit(0, Some(MAX_RESOURCES))?;
        let names = async {
            let mut names = BTreeSet::new();
            self.queries
                .for_each(columns, |rows| {
                    for (name, column) in LABELS {
                        let values = text(rows, column)?;
                        if values.iter().flatten().any(|value| !value.is_empty()) {
                            names.insert(name.to_owned());
                        }
                    }
                    Ok(())
                })
                .await?;
            self.queries
                .for_each(resources, |rows| {
                    let resources = text(rows, RESOURCE)?.iter().flatten().map(Resource::of);
                    names.extend(resources.flat_map(|resource| resource.labels.into_keys()));
                    Ok(())
                })
                .await?;
            Ok(names.into_iter().take(self.options.max_entries).collect())
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
        const VALUE: &str = "value";
        let values = self.labelled(scope, request)?.select(vec![stream::label(label).alias(VALUE)])?;
        self.queries.run("log_labels", self.distinct_text(values, VALUE)).await
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
            let frame = self.labelled(scope, &request)?.aggregate(stream::columns(), Vec::new())?;
            let frame = frame.limit(0, Some(MAX_RESOURCES))?;
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
        let bytes = cast(octet_length(col("body")), DataType::Int64);
        let sums = vec![count(lit(1_i64)).alias("lines"), sum(bytes).alias("bytes")];
        let frame = self.labelled(scope, request)?.aggregate(stream::columns(), sums)?;
        let frame = frame.sort(vec![col("bytes").sort(false, false)])?.limit(0, Some(MAX_RESOURCES))?;
        // Resources that differ in what is no label are one stream.
        let mut sums: BTreeMap<BTreeMap<String, String>, (u64, u64)> = BTreeMap::new();
        let reading = self.queries.for_each(frame, |rows| {
            let (lines, bytes) = (integers(rows, "lines")?, integers(rows, "bytes")?);
            for (row, labels) in label_sets(rows)?.into_iter().enumerate() {
                let whole = |values: &Int64Array| u64::try_from(values.value(row)).unwrap_or(0);
                let sum = sums.entry(labels).or_default();
                *sum = (sum.0 + whole(lines), sum.1 + whole(bytes));
            }
            Ok(())
        });
        self.queries.run("log_volume", reading).await?;
        let volumes = sums.into_iter().map(|(labels, (lines, bytes))| StreamVolume { labels, lines, bytes });
        let mut volumes: Vec<StreamVolume> = volumes.collect();
        volumes.sort_by_key(|volume| Reverse(volume.bytes));
        volumes.truncate(self.options.max_series);
        Ok(volumes)
    }

    fn labelled(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<DataFrame, QueryError> {
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
    let resources = text(rows, RESOURCE)?;
    let set = |row| {
        let pairs = columns.iter().map(|(name, values)| (*name, values.value(row)));
        let present = pairs.filter(|(_, value)| !value.is_empty());
        let present = present.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Resource::of(resources.value(row)).labels.into_iter().chain(present).collect()
    };
    Ok((0..rows.num_rows()).map(set).collect())
}
