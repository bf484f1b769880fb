//! Work on many series shared by threads.
//!
//! Of expressions in which each series goes its own way from a selector to the result, the series are cut into shares of
//! neighbours. Each share is evaluated by itself, as if its series were all there are, and what comes of the shares is
//! put together in their order: so a result does not depend on how many threads there were.

use std::cell::{Cell as Slot, RefCell};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tenantscope_model::{LabelSet, Labels, METRIC_NAME, MatchOp, Matcher, SelectRequest, Selection, SeriesGroups};

use crate::ast::{Call, Expr, ExprKind};
use crate::column::Grid;
use crate::error::EngineError;
use crate::evaluation::{Evaluation, Setting};
use crate::held::Collected;
use crate::notes::Notes;
use crate::{dates, math, over_time};

/// Series in a share, about, so that starting a thread for it pays.
const MIN_SHARE: usize = 2048;
/// More would only make putting together dearer.
const MAX_SHARES: usize = 16;
/// Up to so many series are put into the order of their labels, as readers like to see them.
const MAX_SORTED: usize = 4096;

/// Threads that work on shares beside those that the queries have themselves, in the whole process.
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// The part of a selection that one thread works on.
pub(crate) struct Share<'a> {
    pub(crate) selection: &'a dyn Selection,
    places: Range<usize>,
    /// The series that is on its way now.
    place: Slot<usize>,
    /// By metric name, unless all have the same; labels of this share's own, so that threads do not count the same
    /// references.
    names: Option<&'a SeriesGroups>,
    named: Vec<Labels>,
}

/// The metric name that all series have which fulfil the matchers, if they demand one.
pub(crate) fn only_name(matchers: &[Matcher]) -> Option<&str> {
    let is_name = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal && !m.value().is_empty();
    matchers.iter().find(is_name).map(Matcher::value)
}

/// The metric names of a selection.
enum Names {
    One(String),
    Several(SeriesGroups),
}

impl Names {
    fn of(selection: &dyn Selection, matchers: &[Matcher]) -> Result<Self, EngineError> {
        Ok(match only_name(matchers) {
            Some(name) => Self::One(name.to_owned()),
            None => Self::Several(selection.groups(LabelSet::Only(&[METRIC_NAME.into()]))?),
        })
    }
}

impl<'a> Share<'a> {
    fn new(selection: &'a dyn Selection, places: Range<usize>, names: &'a Names) -> Self {
        let named = |name: &str| Labels::from_pairs([(METRIC_NAME, name)]);
        let (names, named) = match names {
            Names::One(name) => (None, vec![named(name)]),
            Names::Several(groups) => {
                (Some(groups), groups.labels.iter().map(|labels| named(labels.metric_name())).collect())
            }
        };
        Self { selection, place: Slot::new(places.start), places, named, names }
    }

    pub(crate) fn places(&self) -> Range<usize> {
        self.places.clone()
    }

    /// Says which series is on its way from now on.
    pub(crate) fn arrive(&self, place: usize) {
        self.place.set(place);
    }

    /// The series on its way.
    pub(crate) fn place(&self) -> usize {
        self.place.get()
    }

    /// The metric name alone: other labels are asked for in the end.
    pub(crate) fn name_of(&self, place: usize) -> Labels {
        let number = self.names.map_or(Some(0), |names| names.of.get(place).copied());
        number.and_then(|number| self.named.get(number as usize)).cloned().unwrap_or_default()
    }
}

/// What came of a share and what is to be said of it, once it is done.
type Done<T> = Option<(Result<T, EngineError>, Notes)>;

/// A thread that helps, until it is dropped.
struct Helper;

impl Helper {
    /// If there is a core left for it.
    fn take() -> Option<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let more = |running: usize| (running + 1 < cores).then_some(running + 1);
        HELPERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        HELPERS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn shares_of(series: usize) -> Vec<Range<usize>> {
    // An even number, of which two threads have the same each.
    let count = match series / MIN_SHARE {
        0 | 1 => 1,
        count => count.next_multiple_of(2).min(MAX_SHARES),
    };
    (0..count).map(|share| series * share / count..series * (share + 1) / count).collect()
}

impl Evaluation<'_> {
    /// What an expression asks the store for, if it is of one selector whose series each go their own way.
    pub(crate) fn row_request<'e>(&'e self, expr: &'e Expr, grid: &Grid) -> Option<SelectRequest<'e>> {
        if self.share.is_some() {
            return None;
        }
        match &expr.kind {
            ExprKind::Paren(inner) | ExprKind::Plus(inner) | ExprKind::Negate(inner) => self.row_request(inner, grid),
            ExprKind::Vector(selector) => Some(self.instant_request(selector, grid)),
            ExprKind::Matrix(matrix) => Some(self.matrix_request(matrix, grid)),
            ExprKind::Subquery(subquery) => {
                let (inner, _) = self.subquery_grid(subquery, grid)?;
                self.row_request(&subquery.expr, &inner)
            }
            ExprKind::Call(call) if keeps_rows(call) => {
                self.only_source(&call.arguments.iter().collect::<Vec<_>>(), grid)
            }
            ExprKind::Binary(binary) if Self::is_scalar(&binary.left) != Self::is_scalar(&binary.right) => {
                self.only_source(&[&binary.left, &binary.right], grid)
            }
            _ => None,
        }
    }

    fn only_source<'e>(&'e self, parts: &[&'e Expr], grid: &Grid) -> Option<SelectRequest<'e>> {
        let mut with_selectors = parts.iter().filter(|part| !part.selectors().is_empty());
        let source = with_selectors.next()?;
        if with_selectors.next().is_some() { None } else { self.row_request(source, grid) }
    }

    /// Finds the series of a request that is of one selector, in the order of labels where they are few.
    pub(crate) fn found<'s>(&'s self, request: &SelectRequest<'s>) -> Result<Box<dyn Selection + 's>, EngineError> {
        let mut selection = self.select.find(self.scope, request)?;
        if selection.len() <= MAX_SORTED {
            selection.sort()?;
        }
        Ok(selection)
    }
}

/// Whether a function makes of each series one series, without looking at others or at labels.
fn keeps_rows(call: &Call) -> bool {
    let name = call.function.name;
    over_time::kernel(name).is_some()
        || math::function(name).is_some()
        || dates::part(name).is_some()
        || matches!(name, "timestamp" | "start_timestamp" | "clamp" | "clamp_min" | "clamp_max" | "round")
}

impl Evaluation<'_> {
    /// Does the work for each share of the selection, on several threads where there are several shares and cores.
    pub(crate) fn for_each_share<T: Send>(
        &self,
        selection: &dyn Selection,
        matchers: &[Matcher],
        work: impl Fn(&Evaluation<'_>, &Share<'_>) -> Result<T, EngineError> + Sync,
    ) -> Result<Vec<T>, EngineError> {
        let names = Names::of(selection, matchers)?;
        let shares = shares_of(selection.len());
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let done: Vec<Mutex<Done<T>>> = shares.iter().map(|_| Mutex::default()).collect();
        let setting: Setting<'_> = self.setting;
        let run = || {
            while !failed.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let (Some(places), Some(done)) = (shares.get(at), done.get(at)) else { return };
                let share = Share::new(selection, places.clone(), &names);
                let evaluation = Evaluation { setting, share: Some(&share), notes: RefCell::default() };
                let result = work(&evaluation, &share);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                let notes = evaluation.notes.into_inner();
                *done.lock().unwrap_or_else(PoisonError::into_inner) = Some((result, notes));
            }
        };
        thread::scope(|scope| {
            for _ in 1..shares.len() {
                let Some(helper) = Helper::take() else { break };
                let run = &run;
                let spawned = thread::Builder::new().name("query".to_owned()).spawn_scoped(scope, move || {
                    let _helper = helper;
                    run();
                });
                if spawned.is_err() {
                    break;
                }
            }
            run();
        });
        let mut results = Vec::with_capacity(done.len());
        for one in done {
            // Where one failed, those after it may not have been begun.
            let Some((result, notes)) = one.into_inner().unwrap_or_else(PoisonError::into_inner) else { continue };
            self.notes.borrow_mut().join(notes);
            results.push(result?);
        }
        Ok(results)
    }

    /// Evaluates an expression of the selection's series and holds all columns; labels are made for these alone.
    pub(crate) fn collect_rows(
        &self,
        selection: &dyn Selection,
        matchers: &[Matcher],
        expr: &Expr,
        grid: &Grid,
    ) -> Result<Collected<'_>, EngineError> {
        let count = AtomicUsize::new(0);
        let budget = self.budget;
        let shares = self.for_each_share(selection, matchers, |evaluation, share| {
            let (mut places, mut collected) = (Vec::new(), Collected::new(budget.hold()));
            evaluation.columns(expr, grid, &mut |column| {
                places.push(share.place());
                collected.push(column)?;
                evaluation.check_cells(count.fetch_add(1, Ordering::Relaxed) + 1, grid.count)
            })?;
            let labels = selection.labels(&places)?;
            collected.held.grow(labels.iter().map(Labels::held_bytes).sum())?;
            collected.columns.iter_mut().zip(labels).for_each(|(column, labels)| column.labels = labels);
            Ok(collected)
        })?;
        let mut all = Collected::new(self.budget.hold());
        shares.into_iter().for_each(|share| all.append(share));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_series_once() {
        for series in [0, 1, MIN_SHARE * 2 - 1, MIN_SHARE * 3 + 5, MIN_SHARE * 100] {
            let shares = shares_of(series);
            assert_eq!((shares[0].start, shares[shares.len() - 1].end), (0, series));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start) && shares.len() <= MAX_SHARES);
        }
    }
}
