//! Fewer and larger parts.

use std::sync::Arc;
use std::time::Instant;

use tenantscope_model::Exemplar;

use crate::columns::Columns;
use crate::error::StoreError;
use crate::flush::{create, finish, sorted, window_range};
use crate::part::{Part, PartWriter, WINDOW_MS, Wanted};
use crate::removal::Tombstone;
use crate::selection::wanted;
use crate::series::{Series, SeriesId};
use crate::store::{Change, MetricStore, remove_file};
use crate::telemetry;
use crate::upkeep::{Work, guarded};

/// Parts that a window gathers before they merge, while it is young.
const MIN_MERGED: usize = 4;
/// Parts of a window past which the newest merge whatever their sizes are.
const MAX_PARTS_IN_WINDOW: usize = 12;
/// A part merges with newer ones if it is at most so many times as large as they are together, so that each sample is
/// written a number of times that grows with the logarithm of the window.
const SIZE_RATIO: u64 = 2;
/// Series merged at a time, at most, and about how many bytes of their samples: histograms may be large.
const PIECE: usize = 2048;
const PIECE_BYTES: u64 = 64 << 20;

impl MetricStore {
    /// Merges parts of one window, if some should be, and says whether it did. Writers and readers go on meanwhile.
    pub fn merge(&self) -> Result<bool, StoreError> {
        let _one_at_a_time = self.merging.lock();
        let is_let_alone =
            |window_ms: i64| self.is_converting(window_ms) || self.upkeep.is_held(&Work::Merge(window_ms));
        let boundaries: Vec<u64> = self.tombstones().iter().filter_map(Tombstone::boundary).collect();
        let Some(inputs) = next_inputs(&self.parts(), is_let_alone, &boundaries) else { return Ok(false) };
        let started = Instant::now();
        self.merge_parts(&inputs).inspect_err(|error| {
            telemetry::FAILURES.with_label_values(&["merge"]).inc();
            if let Some(first) = inputs.first().filter(|_| error.is_damage()) {
                self.upkeep.hold(Work::Merge(first.footer().window_ms));
            }
        })?;
        telemetry::MERGE_SECONDS.observe(started.elapsed().as_secs_f64());
        self.show_sizes();
        Ok(true)
    }

    fn merge_parts(&self, inputs: &[Arc<Part>]) -> Result<(), StoreError> {
        let mut ids: Vec<SeriesId> = inputs.iter().flat_map(|part| part.ids()).collect();
        ids.sort_unstable();
        ids.dedup();
        let merged = self.part_of(inputs, &ids)?;
        tracing::debug!(parts = inputs.len(), bytes = merged.as_ref().map_or(0, |part| part.bytes()), "merged");
        self.commit(&Change { add: merged.into_iter().collect(), remove: inputs.to_vec(), ..Change::default() })
    }

    /// A part with what parts of one window, from older to newer, hold of some series; none without parts or series.
    pub(crate) fn part_of(&self, inputs: &[Arc<Part>], ids: &[SeriesId]) -> Result<Option<Arc<Part>>, StoreError> {
        let (Some(oldest), Some(newest)) = (inputs.first(), inputs.last()) else { return Ok(None) };
        if ids.is_empty() {
            return Ok(None);
        }
        let mut writer = create(self, oldest.footer().window_ms)?;
        if let Err(error) = guarded(|| self.write_merged(inputs, ids, &mut writer)) {
            remove_file(writer.path());
            return Err(error);
        }
        finish(writer, (oldest.footer().min_position, newest.footer().max_position)).map(Some)
    }

    fn write_merged(&self, inputs: &[Arc<Part>], ids: &[SeriesId], writer: &mut PartWriter) -> Result<(), StoreError> {
        let path = writer.path().to_owned();
        let mut series = self.series_numbered(ids);
        let texts = self.index.read().texts();
        texts.sort(&mut series);
        let wanted = wanted(&series);
        let mut decoded_bytes = vec![0; series.len()];
        inputs.iter().for_each(|part| part.decoded_bytes(&wanted, add_to(&mut decoded_bytes)));
        drop(wanted);
        for piece in pieces(&series, &decoded_bytes) {
            for (series, (columns, exemplars)) in piece.iter().zip(read_piece(inputs, piece)?) {
                writer.add(series, &texts, &columns, &sorted(exemplars)).map_err(StoreError::io(&path))?;
            }
        }
        Ok(())
    }

    /// The series of these numbers that are in the index, which is locked for some of them at a time.
    pub(crate) fn series_numbered(&self, ids: &[SeriesId]) -> Vec<Arc<Series>> {
        let mut series: Vec<Arc<Series>> = Vec::with_capacity(ids.len());
        for piece in ids.chunks(PIECE) {
            let index = self.index.read();
            series.extend(piece.iter().filter_map(|id| index.get(*id).cloned()));
        }
        series
    }
}

/// Adds bytes at a series' place.
pub(crate) fn add_to(all: &mut [u64]) -> impl FnMut(usize, u64) {
    |slot, bytes| all.get_mut(slot).into_iter().for_each(|all| *all = all.saturating_add(bytes))
}

/// Cuts series, of whose samples about so many bytes are known, into pieces that are held at once.
pub(crate) fn pieces<'a>(series: &'a [Arc<Series>], decoded_bytes: &[u64]) -> Vec<&'a [Arc<Series>]> {
    let mut pieces = Vec::new();
    let (mut rest, mut length, mut held_bytes) = (series, 0, 0_u64);
    for bytes in decoded_bytes {
        if length >= PIECE || length > 0 && held_bytes.saturating_add(*bytes) > PIECE_BYTES {
            let (piece, after) = rest.split_at(length);
            pieces.push(piece);
            (rest, length, held_bytes) = (after, 0, 0);
        }
        length += 1;
        held_bytes = held_bytes.saturating_add(*bytes);
    }
    pieces.extend(Some(rest).filter(|rest| !rest.is_empty()));
    pieces
}

/// What the parts hold of some series, newer parts over older ones.
fn read_piece(inputs: &[Arc<Part>], piece: &[Arc<Series>]) -> Result<Vec<(Columns, Vec<Exemplar>)>, StoreError> {
    let wanted = wanted(piece);
    let mut merged: Vec<(Columns, Vec<Exemplar>)> = piece.iter().map(|_| Default::default()).collect();
    inputs.iter().try_for_each(|part| lay_over(part, &wanted, &mut merged))?;
    Ok(merged)
}

/// Lays what a part holds of the wanted series over what older writes hold of them.
pub(crate) fn lay_over(
    part: &Part,
    wanted: &[Wanted],
    merged: &mut [(Columns, Vec<Exemplar>)],
) -> Result<(), StoreError> {
    let range = window_range(part.footer().window_ms);
    part.read(wanted, |slot, block| {
        if let Some((columns, exemplars)) = merged.get_mut(slot) {
            columns.overlay(block.columns(range)?);
            exemplars.extend(block.exemplars(range)?);
        }
        Ok(())
    })
}

/// Neighbours of one window that should become one part, from older to newer, all of them on one side of each boundary.
fn next_inputs(parts: &[Arc<Part>], is_let_alone: impl Fn(i64) -> bool, boundaries: &[u64]) -> Option<Vec<Arc<Part>>> {
    let newest_window_ms = parts.last()?.footer().window_ms;
    let passed = |part: &Part| boundaries.iter().filter(|boundary| part.footer().max_position > **boundary).count();
    let together =
        |a: &Arc<Part>, b: &Arc<Part>| a.footer().window_ms == b.footer().window_ms && passed(a) == passed(b);
    parts.chunk_by(together).find_map(|window| {
        let window_ms = window.first()?.footer().window_ms;
        if is_let_alone(window_ms) {
            return None;
        }
        let is_closed = newest_window_ms.saturating_sub(window_ms) > WINDOW_MS;
        let sizes: Vec<u64> = window.iter().map(|part| part.bytes()).collect();
        let count = merged_count(&sizes, is_closed)?;
        window.get(window.len() - count..).map(<[_]>::to_vec)
    })
}

/// How many of the newest parts, whose sizes are given from older to newer, should merge.
fn merged_count(sizes: &[u64], is_closed: bool) -> Option<usize> {
    let mut total = 0_u64;
    let mut count = 0;
    for size in sizes.iter().rev() {
        if count > 0 && *size > SIZE_RATIO * total {
            break;
        }
        total += size;
        count += 1;
    }
    let min_merged = if is_closed { 2 } else { MIN_MERGED };
    match count {
        count if count >= min_merged => Some(count),
        _ if sizes.len() > MAX_PARTS_IN_WINDOW => Some(sizes.len() / 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Identities;

    #[test]
    fn pieces_are_cut_by_number_and_by_bytes() {
        let identity = Identities::default().of_pairs(std::iter::empty());
        let made = |id| Arc::new(Series::new(id, identity, Arc::default(), Box::default()));
        let series: Vec<Arc<Series>> = (0..5000).map(made).collect();
        let lengths = |bytes: &[u64]| -> Vec<usize> {
            pieces(&series[..bytes.len()], bytes).iter().map(|piece| piece.len()).collect()
        };
        assert_eq!(lengths(&[1; 5000]), [PIECE, PIECE, 5000 - 2 * PIECE]);
        assert_eq!(lengths(&[PIECE_BYTES, 1, PIECE_BYTES - 1, 1, 3 * PIECE_BYTES, 5]), [1, 2, 1, 1, 1]);
        assert!(lengths(&[]).is_empty());
    }

    #[test]
    fn young_parts_gather_and_a_large_one_waits_for_enough() {
        assert_eq!(merged_count(&[10, 10, 10], false), None);
        assert_eq!(merged_count(&[10, 10, 10, 10], false), Some(4));
        assert_eq!(merged_count(&[1000, 10, 10, 10, 10], false), Some(4));
        assert_eq!(merged_count(&[60, 10, 10, 10, 10], false), Some(5));
    }

    #[test]
    fn in_a_closed_window_two_of_a_size_merge_and_a_trickle_does_not_rewrite_it() {
        assert_eq!(merged_count(&[15, 10], true), Some(2));
        assert_eq!(merged_count(&[1000, 10], true), None);
        assert_eq!(merged_count(&[1000, 10, 10], true), Some(2));
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let falling: Vec<u64> = (0..13).map(|i| 1 << (60 - 4 * i)).collect();
        assert_eq!(merged_count(&falling, false), Some(6));
        assert_eq!(merged_count(&falling[1..], false), None);
    }
}
