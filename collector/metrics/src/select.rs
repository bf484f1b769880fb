//! Reading: from the scope's postings to memory, then to the parts.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tenantscope_model::{
    Exemplar, Labels, Lookback, Metadata, MetadataRequest, QueryBudget, Scope, Select, SelectError, SelectRequest,
    SelectedSeries, SeriesRequest,
};

use crate::block::{BlockError, LoadedBlocks, LoadedFile, What};
use crate::columns::{Columns, TimeRange};
use crate::error::StoreError;
use crate::index;
use crate::part::{Part, Problem, Wanted};
use crate::series::Series;
use crate::store::MetricStore;

/// Labels made under one lock, and series between two charges.
const PIECE: usize = 1024;

/// A series on its way to the reader.
struct Reading {
    series: Arc<Series>,
    range: TimeRange,
    lookback_ms: i64,
    /// From the parts, from older to newer.
    parts: Columns,
    memory: Columns,
}

impl From<StoreError> for SelectError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "could not read a part");
        // Paths and offsets tell of files only, not of anyone's series.
        Self::Store(error.to_string())
    }
}

impl From<BlockError> for SelectError {
    fn from(error: BlockError) -> Self {
        StoreError::from(error).into()
    }
}

impl Select for MetricStore {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SelectError> {
        let range = self.widest_range(request);
        // Blocks before the index: their series are in it as long as they are held.
        let blocks = self.load_blocks(&What { scope, matchers: request.matchers, range }, || request.budget.check())?;
        let found = index::find(&self.index, scope, request.matchers, request.budget)?;
        // Memory before parts: samples leave memory only after their parts came in.
        let mut reading = read_memory(&found, request)?;
        for file in &blocks.files {
            read_blocks(file, &mut reading, request.budget)?;
        }
        for part in self.parts_since(&blocks.parts).iter() {
            read_part(part, &mut reading, request.budget)?;
        }
        self.finish(reading)
    }

    fn series(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        let (_blocks, found) = self.find_series(scope, request)?;
        let mut labels: Vec<Labels> = Vec::new();
        for piece in found.chunks(PIECE) {
            request.budget.charge_series(piece.len())?;
            let index = self.index.read();
            labels.extend(piece.iter().map(|series| index.labels_of(series)));
        }
        labels.sort_unstable();
        labels.truncate(request.limit);
        Ok(labels)
    }

    fn label_names(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError> {
        let (_blocks, found) = self.find_series(scope, request)?;
        let ids = ids_of(&found);
        let mut names = self.index.read().names_among(&ids);
        names.truncate(request.limit);
        Ok(names)
    }

    fn label_values(
        &self,
        scope: &Scope,
        name: &str,
        request: &SeriesRequest<'_>,
    ) -> Result<Vec<Arc<str>>, SelectError> {
        let (_blocks, found) = self.find_series(scope, request)?;
        let ids = ids_of(&found);
        let mut values = index::values_among(&self.index, name, &ids);
        values.truncate(request.limit);
        Ok(values)
    }

    fn metadata(
        &self,
        scope: &Scope,
        request: &MetadataRequest<'_>,
    ) -> Result<Vec<(Arc<str>, Vec<Metadata>)>, SelectError> {
        Ok(self.families.read().read(scope, request))
    }

    fn exemplars(
        &self,
        scope: &Scope,
        request: &SeriesRequest<'_>,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let range = TimeRange { min_ms: request.from_ms, max_ms: request.to_ms };
        let blocks = self.load_any_blocks(scope, request)?;
        let found = self.find_any(scope, request)?;
        request.budget.charge_series(found.len())?;
        let mut exemplars: Vec<Vec<Exemplar>> = found.iter().map(|series| series.exemplars(range)).collect();
        let wanted = wanted(found.iter());
        let mut push = |slot: usize, read: Vec<Exemplar>| exemplars.get_mut(slot).into_iter().for_each(|all| all.extend_from_slice(&read));
        for file in blocks.iter().flat_map(|blocks| &blocks.files) {
            file.exemplars(&wanted, range, &mut push).map_err(StoreError::from)?;
        }
        for part in self.parts().iter().filter(|part| part.overlaps(range)) {
            part.read::<SelectError>(&wanted, |slot, block| {
                let read = block.exemplars(range)?;
                if let Some(exemplars) = exemplars.get_mut(slot) {
                    exemplars.extend(read);
                }
                Ok(())
            })?;
        }
        let index = self.index.read();
        let with = found.iter().zip(exemplars).filter(|(_, exemplars)| !exemplars.is_empty());
        let mut all: Vec<(Labels, Vec<Exemplar>)> =
            with.map(|(series, exemplars)| (index.labels_of(series), in_time_order(exemplars))).collect();
        drop(index);
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all.truncate(request.limit);
        Ok(all)
    }
}

impl MetricStore {
    /// All times that may be wanted of a series.
    fn widest_range(&self, request: &SelectRequest<'_>) -> TimeRange {
        let lookback_ms = match request.lookback {
            Lookback::Range => 0,
            Lookback::Fixed(lookback_ms) => lookback_ms,
            Lookback::Widened(lookback_ms) => self.widest_lookback_ms(lookback_ms),
        };
        TimeRange { min_ms: request.from_ms.saturating_sub(lookback_ms), max_ms: request.to_ms }
    }

    /// Blocks with what a metadata call asks for.
    fn load_any_blocks(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<LoadedBlocks>, SelectError> {
        let range = TimeRange { min_ms: request.from_ms, max_ms: request.to_ms };
        let load = |matchers| self.load_blocks(&What { scope, matchers, range }, || request.budget.check());
        match request.matcher_sets {
            [] => Ok(vec![load(&[])?]),
            sets => sets.iter().map(|matchers| load(matchers)).collect(),
        }
    }

    /// Labels for those series that have samples, and everything in the order of labels.
    fn finish(&self, reading: Vec<Reading>) -> Result<Vec<SelectedSeries>, SelectError> {
        let mut selected = Vec::with_capacity(reading.len());
        let mut reading = reading.into_iter().peekable();
        while reading.peek().is_some() {
            let index = self.index.read();
            for Reading { series, lookback_ms, parts, memory, .. } in reading.by_ref().take(PIECE) {
                let mut columns = parts;
                columns.overlay(memory);
                if !columns.is_empty() {
                    let Columns { samples, histograms, starts } = columns;
                    selected.push(SelectedSeries {
                        labels: index.labels_of(&series),
                        lookback_ms,
                        samples,
                        histograms,
                        starts,
                    });
                }
            }
        }
        selected.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(selected)
    }

    /// Series that fulfil one of the matcher sets, by rising number.
    fn find_any(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Arc<Series>>, SelectError> {
        let budget = request.budget;
        match request.matcher_sets {
            [] => index::find(&self.index, scope, &[], budget),
            [only] => index::find(&self.index, scope, only, budget),
            several => {
                let mut found: Vec<Arc<Series>> = Vec::new();
                for matchers in several {
                    found.append(&mut index::find(&self.index, scope, matchers, budget)?);
                }
                found.sort_unstable_by_key(|series| series.id());
                found.dedup_by_key(|series| series.id());
                Ok(found)
            }
        }
    }

    /// The same, less those without samples in the time, as far as memory and the parts' own times tell.
    /// They are in the index as long as the blocks are held.
    fn find_series(
        &self,
        scope: &Scope,
        request: &SeriesRequest<'_>,
    ) -> Result<(Vec<LoadedBlocks>, Vec<Arc<Series>>), SelectError> {
        let range = TimeRange { min_ms: request.from_ms, max_ms: request.to_ms };
        let blocks = self.load_any_blocks(scope, request)?;
        let mut found = self.find_any(scope, request)?;
        let in_memory: BTreeSet<u32> =
            found.iter().filter(|series| series.has_samples(range)).map(|series| series.id()).collect();
        let mut in_parts = RoaringBitmap::new();
        blocks.iter().flat_map(|blocks| &blocks.files).for_each(|file| in_parts.extend(file.ids(range)));
        if in_memory.len() < found.len() {
            self.parts().iter().filter(|part| part.overlaps(range)).for_each(|part| in_parts.extend(part.ids()));
        }
        found.retain(|series| in_memory.contains(&series.id()) || in_parts.contains(series.id()));
        Ok((blocks, found))
    }
}

fn read_memory(found: &[Arc<Series>], request: &SelectRequest<'_>) -> Result<Vec<Reading>, SelectError> {
    let mut reading = Vec::with_capacity(found.len());
    for piece in found.chunks(PIECE) {
        let mut samples = 0;
        for series in piece {
            let (range, lookback_ms) = range_of(series, request);
            let memory = series.read(range);
            samples += memory.len();
            reading.push(Reading { series: Arc::clone(series), range, lookback_ms, parts: Columns::default(), memory });
        }
        request.budget.charge(samples)?;
    }
    Ok(reading)
}

/// The times that are wanted of a series, and the lookback that holds for it.
fn range_of(series: &Series, request: &SelectRequest<'_>) -> (TimeRange, i64) {
    let lookback_ms = match request.lookback {
        Lookback::Range => 0,
        Lookback::Fixed(lookback_ms) => lookback_ms,
        Lookback::Widened(lookback_ms) => {
            series.cadence().map_or(lookback_ms, |cadence| cadence.lookback_ms(lookback_ms))
        }
    };
    let min_ms = match request.lookback {
        Lookback::Range => request.from_ms,
        // Open on the left.
        Lookback::Widened(_) | Lookback::Fixed(_) => request.from_ms.saturating_sub(lookback_ms).saturating_add(1),
    };
    (TimeRange { min_ms, max_ms: request.to_ms }, lookback_ms)
}

fn read_part(part: &Part, reading: &mut [Reading], budget: &QueryBudget) -> Result<(), SelectError> {
    let overlapping = reading.iter().enumerate().filter(|(_, one)| part.overlaps(one.range));
    let wanted: Vec<Wanted> = overlapping.map(|(slot, one)| Wanted { id: one.series.id(), slot }).collect();
    part.read::<SelectError>(&wanted, |slot, block| {
        let Some(one) = reading.get_mut(slot) else { return Ok(()) };
        let columns = block.columns(one.range)?;
        budget.charge(columns.len()).map_err(Problem::Other)?;
        one.parts.overlay(columns);
        Ok(())
    })
}

fn read_blocks(file: &LoadedFile, reading: &mut [Reading], budget: &QueryBudget) -> Result<(), SelectError> {
    let range = file.file().range();
    let overlapping = reading.iter().enumerate().filter(|(_, one)| one.range.overlaps(range));
    let wanted: Vec<Wanted> = overlapping.map(|(slot, one)| Wanted { id: one.series.id(), slot }).collect();
    let ranges: Vec<TimeRange> = reading.iter().map(|one| one.range).collect();
    let range_of = |slot: usize| ranges.get(slot).copied().unwrap_or(TimeRange::EMPTY);
    file.read::<SelectError>(&wanted, range_of, |slot, rows| {
        let Some(one) = reading.get_mut(slot) else { return Ok(()) };
        let columns = rows.columns(one.range);
        budget.charge(columns.len())?;
        one.parts.overlay(columns);
        Ok(())
    })?;
    Ok(())
}

fn wanted<'a>(series: impl Iterator<Item = &'a Arc<Series>>) -> Vec<Wanted> {
    series.enumerate().map(|(slot, series)| Wanted { id: series.id(), slot }).collect()
}

fn ids_of(series: &[Arc<Series>]) -> RoaringBitmap {
    series.iter().map(|series| series.id()).collect()
}

fn in_time_order(mut exemplars: Vec<Exemplar>) -> Vec<Exemplar> {
    exemplars.sort_by(|a, b| a.t_ms.cmp(&b.t_ms).then_with(|| a.labels.cmp(&b.labels)));
    // The same one may be in memory and already in a part.
    exemplars.dedup();
    exemplars
}
