//! Reading: samples by selections, and what series there are and say of themselves.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tenantscope_model::{
    Cardinality, Exemplar, Labels, Metadata, MetadataRequest, QueryBudget, Scope, Select, SelectError, SelectRequest,
    SelectedSeries, Selection, SeriesRequest,
};

use crate::block::{BlockError, LoadedBlocks, LoadedFile, SectionsWanted, What};
use crate::columns::TimeRange;
use crate::error::StoreError;
use crate::index;
use crate::selection::wanted;
use crate::series::Series;
use crate::store::MetricStore;
use crate::view::View;

/// Labels made under one lock, and series between two charges.
const PIECE: usize = 1024;

/// Families looked at under one lock.
const FAMILIES: usize = 64;

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
        self.look_for(scope, request)?.read_all()
    }

    fn find<'a>(&'a self, scope: &Scope, request: &SelectRequest<'a>) -> Result<Box<dyn Selection + 'a>, SelectError> {
        Ok(Box::new(self.look_for(scope, request)?))
    }

    fn series(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        // The symbols of what is found stand for the same strings until labels are made of them.
        let _pin = self.index.read().pin();
        let (_blocks, found) = self.find_series(scope, request, request.limit)?;
        let mut labels: Vec<Labels> = Vec::new();
        let mut taken_bytes = 0;
        for piece in found.chunks(PIECE) {
            request.budget.charge_series(piece.len())?;
            let index = self.index.read();
            let made: Vec<Labels> = piece.iter().map(|series| index.labels_of(series)).collect();
            drop(index);
            taken_bytes += taken(request.budget, made.iter().map(Labels::held_bytes))?;
            labels.extend(made);
        }
        labels.sort_unstable();
        request.budget.give_back_bytes(taken_bytes);
        Ok(labels)
    }

    fn label_names(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError> {
        let (_blocks, found) = self.find_series(scope, request, usize::MAX)?;
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
        let (_blocks, found) = self.find_series(scope, request, usize::MAX)?;
        let ids = ids_of(&found);
        index::values_among(&self.index, name, &ids, request.limit, request.budget)
    }

    fn cardinality(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Cardinality, SelectError> {
        let (_blocks, found) = self.find_series(scope, request, usize::MAX)?;
        index::tally(&self.index, &ids_of(&found), request.limit, request.budget)
    }

    fn metadata(
        &self,
        scope: &Scope,
        request: &MetadataRequest<'_>,
    ) -> Result<Vec<(Arc<str>, Vec<Metadata>)>, SelectError> {
        let mut found: Vec<(Arc<str>, Vec<Metadata>)> = Vec::new();
        let (mut after, mut taken_bytes) = (None, 0);
        loop {
            // Others wait for a few families at most.
            let piece = self.families.read().read(scope, request.family, after.as_ref(), FAMILIES);
            let bytes = |(_, entries): &(Arc<str>, Vec<Metadata>)| {
                size_of::<(Arc<str>, Vec<Metadata>)>() + size_of_val(entries.as_slice())
            };
            taken_bytes += taken(request.budget, piece.found.iter().map(bytes))?;
            request.budget.check()?;
            found.extend(piece.found);
            after = piece.last;
            if after.is_none() || found.len() >= request.limit {
                break;
            }
        }
        found.truncate(request.limit);
        request.budget.give_back_bytes(taken_bytes);
        Ok(found)
    }

    fn exemplars(
        &self,
        scope: &Scope,
        request: &SeriesRequest<'_>,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let range = range_of(request);
        let _pin = self.index.read().pin();
        let blocks = self.load_any_blocks(scope, request, |_, _| Ok(SectionsWanted::All))?;
        let found = self.find_any(scope, request)?;
        let held = |exemplars: &[Exemplar]| -> usize {
            exemplars.iter().map(|exemplar| size_of::<Exemplar>() + exemplar.labels.held_bytes()).sum()
        };
        let mut taken_bytes = taken(request.budget, std::iter::once(found.len() * size_of::<Vec<Exemplar>>()))?;
        let mut exemplars: Vec<Vec<Exemplar>> = found.iter().map(|series| series.exemplars(range)).collect();
        taken_bytes += taken(request.budget, exemplars.iter().map(|exemplars| held(exemplars)))?;
        let wanted = wanted(&found);
        for file in &blocks.files {
            let mut read_bytes = 0;
            let mut push = |slot: usize, read: Vec<Exemplar>| {
                read_bytes += held(&read);
                exemplars.get_mut(slot).into_iter().for_each(|all| all.extend_from_slice(&read));
            };
            file.exemplars(&wanted, range, &mut push).map_err(StoreError::from)?;
            taken_bytes += taken(request.budget, std::iter::once(read_bytes))?;
        }
        for part in blocks.view.parts_until_now().iter().filter(|part| part.overlaps(range)) {
            let mut read_bytes = 0;
            part.read::<SelectError>(&wanted, |slot, block| {
                let read = block.exemplars(range)?;
                read_bytes += held(&read);
                if let Some(exemplars) = exemplars.get_mut(slot) {
                    exemplars.extend(read);
                }
                Ok(())
            })?;
            taken_bytes += taken(request.budget, std::iter::once(read_bytes))?;
        }
        request.budget.charge_series(exemplars.iter().filter(|exemplars| !exemplars.is_empty()).count())?;
        let index = self.index.read();
        let with = found.iter().zip(exemplars).filter(|(_, exemplars)| !exemplars.is_empty());
        let mut all: Vec<(Labels, Vec<Exemplar>)> =
            with.map(|(series, exemplars)| (index.labels_of(series), in_time_order(exemplars))).collect();
        drop(index);
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all.truncate(request.limit);
        request.budget.give_back_bytes(taken_bytes);
        Ok(all)
    }
}

impl MetricStore {
    /// Blocks with what a metadata call asks for, as far as it wants them.
    fn load_any_blocks(
        &self,
        scope: &Scope,
        request: &SeriesRequest<'_>,
        wanted: impl FnMut(&View, &[LoadedFile]) -> Result<SectionsWanted, SelectError>,
    ) -> Result<LoadedBlocks, SelectError> {
        let range = range_of(request);
        let what = |matchers| What { scope, matchers, range };
        let whats: Vec<What<'_>> = match request.matcher_sets {
            [] => vec![what(&[])],
            sets => sets.iter().map(|matchers| what(matchers)).collect(),
        };
        self.load_blocks(&whats, request.budget, wanted)
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

    /// The same, less those without samples in the time, as far as memory and the parts' own times tell; at most so
    /// many, and no more blocks are loaded for them than it takes. They are in the index as long as the blocks are held.
    fn find_series(
        &self,
        scope: &Scope,
        request: &SeriesRequest<'_>,
        most: usize,
    ) -> Result<(LoadedBlocks, Vec<Arc<Series>>), SelectError> {
        let mut enough: Option<Vec<Arc<Series>>> = None;
        let blocks = self.load_any_blocks(scope, request, |view, files| {
            if most == usize::MAX {
                return Ok(SectionsWanted::All);
            }
            let found = self.find_in(scope, request, most, view, files)?;
            let missing = most - found.len();
            enough = (missing == 0).then_some(found);
            Ok(if missing == 0 { SectionsWanted::NoMore } else { SectionsWanted::AtLeast(missing) })
        })?;
        let found = match enough {
            Some(found) => found,
            None => self.find_in(scope, request, most, &blocks.view, &blocks.files)?,
        };
        Ok((blocks, found))
    }

    /// At most so many of the series that memory, parts, and what was loaded of blocks have.
    fn find_in(
        &self,
        scope: &Scope,
        request: &SeriesRequest<'_>,
        most: usize,
        view: &View,
        files: &[LoadedFile],
    ) -> Result<Vec<Arc<Series>>, SelectError> {
        let range = range_of(request);
        let mut found = self.find_any(scope, request)?;
        let in_memory = found.iter().filter(|series| series.has_samples(range)).map(|series| series.id());
        let mut with_samples: RoaringBitmap = in_memory.take(most).collect();
        let enough = most.min(found.len()) as u64;
        if with_samples.len() < enough {
            files.iter().for_each(|file| with_samples.extend(file.ids(range)));
            let parts = view.parts_until_now();
            parts.iter().filter(|part| part.overlaps(range)).for_each(|part| with_samples.extend(part.ids()));
        }
        found.retain(|series| with_samples.contains(series.id()));
        found.truncate(most);
        Ok(found)
    }
}

fn range_of(request: &SeriesRequest<'_>) -> TimeRange {
    TimeRange { min_ms: request.from_ms, max_ms: request.to_ms }
}

/// Takes the memory of these, and says how much that is.
fn taken(budget: &QueryBudget, bytes: impl Iterator<Item = usize>) -> Result<usize, SelectError> {
    let bytes = bytes.sum();
    budget.take_bytes(bytes).map(|()| bytes)
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
