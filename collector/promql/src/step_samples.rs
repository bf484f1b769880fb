//! How many samples each time of a query looks at, for whoever asks for statistics.
//!
//! As in Prometheus, an instant selector looks at one sample of each series, a range at all in its window, and a
//! native histogram counts for as many samples as it has the size of. What a subquery evaluates is not counted.

use tenantscope_model::{Histogram, StepSamples};

use crate::column::{Cell, Cells, Grid};
use crate::evaluation::Evaluation;
use crate::window::{Frames, RangeSeries, Window};

/// The size of a sample, of a histogram without buckets, and of a bucket, span or bound, in bytes.
const SAMPLE_BYTES: usize = 16;
const HISTOGRAM_BYTES: usize = 168;
const BUCKET_BYTES: usize = 8;

/// A histogram's size in samples.
fn samples_of(histogram: &Histogram) -> usize {
    let sides = [&histogram.positive, &histogram.negative];
    let parts: usize = sides.iter().map(|side| side.spans.len() + side.counts.len()).sum();
    let bytes = HISTOGRAM_BYTES + BUCKET_BYTES * (parts + histogram.custom_bounds.len());
    (bytes + BUCKET_BYTES) / SAMPLE_BYTES
}

impl Evaluation<'_> {
    /// Where samples are counted, if they are and the grid is the query's own, or its first time for all.
    fn counted(&self, grid: &Grid) -> Option<&StepSamples> {
        let is_own = grid.start_ms == self.query.start_ms && (grid.count == 1 || *grid == self.query);
        self.budget.steps().filter(|_| is_own)
    }

    fn add(&self, steps: &StepSamples, grid: &Grid, step: usize, samples: usize) {
        if grid.count == self.query.count {
            steps.add(step, samples);
        } else {
            (0..self.query.count).for_each(|step| steps.add(step, samples));
        }
    }

    /// Counts what an instant selector found of a series.
    pub(crate) fn count_cells(&self, grid: &Grid, cells: &Cells) {
        let Some(steps) = self.counted(grid) else { return };
        for (step, cell) in cells.iter().enumerate() {
            match cell {
                Cell::Empty => {}
                Cell::Float(_) => self.add(steps, grid, step, 1),
                Cell::Histogram(histogram) => self.add(steps, grid, step, samples_of(&histogram)),
            }
        }
    }

    /// Counts what is in a series' windows.
    pub(crate) fn count_windows(&self, grid: &Grid, series: &RangeSeries, frames: &Frames) {
        let Some(steps) = self.counted(grid) else { return };
        series.slide(frames, |window: &Window<'_>| {
            let histograms: usize = window.histograms.iter().map(|sample| samples_of(&sample.histogram)).sum();
            self.add(steps, grid, window.step, window.floats.len() + histograms);
            Cell::Empty
        });
    }
}
