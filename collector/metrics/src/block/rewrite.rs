//! From parts and files to new files: the newest write of each series and time, in order, one file for each class.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use tenantscope_model::{Exemplar, METRIC_NAME};
use tenantscope_table::{Draft, Partition, Table, WrittenFile};

use super::error::BlockError;
use super::file::LoadedFile;
use super::writer::{BlockWriter, SeriesToWrite};
use crate::columns::{Columns, TimeRange};
use crate::error::StoreError;
use crate::flush::sorted;
use crate::index::{LabelRank, TENANT};
use crate::merge::{add_to, lay_over, pieces};
use crate::part::{Part, Wanted};
use crate::removal::Tombstone;
use crate::selection::wanted;
use crate::series::{Series, SeriesId};
use crate::store::{MetricStore, remove_file};

const DAY_MS: i64 = 86_400_000;
/// A file is closed when it has so many rows, so that late data rewrite no more than that.
const MAX_ROWS_IN_FILE: u64 = 64 << 20;

/// What becomes new files, from older to newer writes: files are older than parts.
pub(super) struct Inputs<'a> {
    pub(super) files: &'a [LoadedFile],
    pub(super) parts: &'a [Arc<Part>],
}

impl Inputs<'_> {
    /// Of each series about how many bytes what they hold of it takes once it is decoded.
    fn decoded_bytes(&self, series: &[Arc<Series>]) -> Vec<u64> {
        let wanted = wanted(series);
        let mut decoded_bytes = vec![0; series.len()];
        self.files.iter().for_each(|file| file.decoded_bytes(&wanted, add_to(&mut decoded_bytes)));
        self.parts.iter().for_each(|part| part.decoded_bytes(&wanted, add_to(&mut decoded_bytes)));
        decoded_bytes
    }
}

/// For each input the tenants that are left out: they were removed, and it is older than that.
struct Removed<'a> {
    from_files: Vec<Vec<&'a str>>,
    from_parts: Vec<Vec<&'a str>>,
}

impl<'a> Removed<'a> {
    fn new(inputs: &Inputs<'_>, stones: &'a [Tombstone]) -> Self {
        let tenants = |is_covered: &dyn Fn(&Tombstone) -> bool| -> Vec<&'a str> {
            stones.iter().filter(|stone| is_covered(stone)).map(|stone| stone.tenant.as_str()).collect()
        };
        let of_file = |file: &LoadedFile| tenants(&|stone| stone.covers_file(file.file().path()));
        let of_part = |part: &Arc<Part>| tenants(&|stone| stone.covers_part(part));
        Self {
            from_files: inputs.files.iter().map(of_file).collect(),
            from_parts: inputs.parts.iter().map(of_part).collect(),
        }
    }
}

/// A file being written.
struct Output {
    draft: Draft,
    writer: BlockWriter,
}

impl MetricStore {
    /// Writes new files of one day; they are durable, and belong to the table once they are committed.
    pub(super) fn rewrite(
        &self,
        table: &Table,
        day_ms: i64,
        inputs: &Inputs<'_>,
    ) -> Result<Vec<WrittenFile>, StoreError> {
        let (series, rank) = self.in_block_order(inputs);
        let tenant_symbol = rank.symbol_of(TENANT);
        let stones = self.tombstones();
        let removed = Removed::new(inputs, &stones);
        let mut outputs: BTreeMap<String, Output> = BTreeMap::new();
        let mut written = Vec::new();
        let result = pieces(&series, &inputs.decoded_bytes(&series)).into_iter().try_for_each(|piece| {
            if self.upkeep.is_stopping() {
                return Err(BlockError::Stopped.into());
            }
            let tenants: Vec<Option<&str>> = piece.iter().map(|series| text_of(series, tenant_symbol, &rank)).collect();
            let read = read_piece(inputs, &removed, piece, &tenants)?;
            for ((series, tenant), (columns, exemplars)) in piece.iter().zip(tenants).zip(read) {
                if columns.is_empty() && exemplars.is_empty() {
                    continue;
                }
                let class = self.options.retention_class(tenant);
                let output = output(&mut outputs, table, &class, day_ms)?;
                add(output, series, &rank, &columns, &sorted(exemplars))?;
                if output.writer.row_count() >= MAX_ROWS_IN_FILE {
                    written.extend(outputs.remove(&class).map(|output| seal(output, table)).transpose()?);
                }
            }
            Ok(())
        });
        let sealed = result.and_then(|()| {
            while let Some((_, output)) = outputs.pop_first() {
                written.push(seal(output, table)?);
            }
            Ok(())
        });
        if let Err(error) = sealed {
            outputs.values().for_each(|output| remove_file(output.draft.local_path()));
            return Err(error);
        }
        Ok(written)
    }

    /// All series of the inputs by metric, tenant and labels.
    fn in_block_order(&self, inputs: &Inputs<'_>) -> (Vec<Arc<Series>>, LabelRank) {
        let of_files = inputs.files.iter().flat_map(LoadedFile::sections).flat_map(|section| section.ids());
        let mut ids: Vec<SeriesId> = inputs.parts.iter().flat_map(|part| part.ids()).chain(of_files).collect();
        ids.sort_unstable();
        ids.dedup();
        let series = self.series_numbered(&ids);
        let rank = self.index.read().rank();
        let (metric, tenant) = (rank.symbol_of(METRIC_NAME), rank.symbol_of(TENANT));
        // Ranks begin at 0 for the first text; a series without the label comes before it.
        let rank_of = |series: &Series, name: Option<u32>| value_of(series, name).map(|value| rank.rank(value));
        let mut keyed: Vec<(Option<u32>, Option<u32>, Arc<Series>)> =
            series.into_iter().map(|series| (rank_of(&series, metric), rank_of(&series, tenant), series)).collect();
        keyed.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| rank.compare(&a.2, &b.2)));
        (keyed.into_iter().map(|(_, _, series)| series).collect(), rank)
    }
}

fn value_of(series: &Series, name: Option<u32>) -> Option<u32> {
    let name = name?;
    series.value(name)
}

fn text_of<'a>(series: &Series, name: Option<u32>, rank: &'a LabelRank) -> Option<&'a str> {
    value_of(series, name).map(|value| rank.text(value))
}

/// The wanted series but those of some tenants.
fn without<'a>(wanted: &'a [Wanted], tenants: &[Option<&str>], removed: &[&str]) -> Cow<'a, [Wanted]> {
    if removed.is_empty() {
        return Cow::Borrowed(wanted);
    }
    let is_removed = |slot: usize| tenants.get(slot).copied().flatten().is_some_and(|tenant| removed.contains(&tenant));
    Cow::Owned(wanted.iter().filter(|wanted| !is_removed(wanted.slot)).copied().collect())
}

/// What the inputs hold of some series, whose tenants are given.
fn read_piece(
    inputs: &Inputs<'_>,
    removed: &Removed<'_>,
    piece: &[Arc<Series>],
    tenants: &[Option<&str>],
) -> Result<Vec<(Columns, Vec<Exemplar>)>, StoreError> {
    let wanted = wanted(piece);
    let mut merged: Vec<(Columns, Vec<Exemplar>)> = piece.iter().map(|_| Default::default()).collect();
    for (file, removed) in inputs.files.iter().zip(&removed.from_files) {
        let wanted = without(&wanted, tenants, removed);
        file.read::<StoreError>(
            &wanted,
            |_| TimeRange::ALL,
            |slot, rows| {
                if let Some((columns, _)) = merged.get_mut(slot) {
                    columns.overlay(rows.columns(TimeRange::ALL));
                }
                Ok(())
            },
        )?;
        file.exemplars(&wanted, TimeRange::ALL, |slot, exemplars| {
            merged.get_mut(slot).into_iter().for_each(|(_, known)| known.extend_from_slice(&exemplars));
        })?;
    }
    for (part, removed) in inputs.parts.iter().zip(&removed.from_parts) {
        lay_over(part, &without(&wanted, tenants, removed), &mut merged)?;
    }
    Ok(merged)
}

fn output<'a>(
    outputs: &'a mut BTreeMap<String, Output>,
    table: &Table,
    class: &str,
    day_ms: i64,
) -> Result<&'a mut Output, BlockError> {
    if !outputs.contains_key(class) {
        let draft = table.draft(&partition(class, day_ms))?;
        let file = File::create_new(draft.local_path());
        let file =
            file.map_err(|source| tenantscope_table::TableError::Io { path: draft.local_path().into(), source })?;
        let writer = BlockWriter::create(file).map_err(BlockError::parquet(draft.path()))?;
        outputs.insert(class.to_owned(), Output { draft, writer });
    }
    outputs.get_mut(class).ok_or_else(|| BlockError::damaged(class, "no file to write"))
}

fn add(
    output: &mut Output,
    series: &Series,
    rank: &LabelRank,
    columns: &Columns,
    exemplars: &[Exemplar],
) -> Result<(), BlockError> {
    let labels: Vec<(&str, &str)> = series.labels().map(|(name, value)| (rank.text(name), rank.text(value))).collect();
    let series = SeriesToWrite { labels: &labels, cadence: series.cadence(), columns, exemplars };
    output.writer.add(&series).map_err(BlockError::parquet(output.draft.path()))
}

fn seal(output: Output, table: &Table) -> Result<WrittenFile, StoreError> {
    let Output { draft, writer } = output;
    let path = draft.local_path().to_owned();
    let written = writer
        .finish()
        .map_err(BlockError::parquet(draft.path()))
        .and_then(|written| Ok(table.seal(draft, &written.bounds, written.rows)?));
    Ok(written.inspect_err(|_| remove_file(&path))?)
}

/// The partition of a class and the day on which a time lies.
fn partition(class: &str, t_ms: i64) -> Partition {
    Partition::from([("retention".to_owned(), class.to_owned()), ("day".to_owned(), day_text(t_ms.div_euclid(DAY_MS)))])
}

/// `2026-11-24`, from days since the epoch (Howard Hinnant's civil_from_days).
fn day_text(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_names() {
        assert_eq!(day_text(0), "1970-01-01");
        assert_eq!(day_text(20_781), "2026-11-24");
        assert_eq!(day_text(-1), "1969-12-31");
    }
}
