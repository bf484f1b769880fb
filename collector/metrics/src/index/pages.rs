//! Series by number. Numbers rise and are never given again, so that no reader can take one series for another; pages
//! whose series are all gone take no memory.

use std::sync::Arc;

use super::postings::MAX_SERIES_ID;
use crate::series::{Series, SeriesId};

const PAGE: usize = 1024;

#[derive(Debug)]
struct Page {
    slots: Box<[Option<Arc<Series>>]>,
    used: usize,
}

/// The series that live.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pages: Vec<Option<Page>>,
    next: SeriesId,
}

impl Pages {
    /// The next series' number; `None` once all are spent (a restart numbers anew).
    pub(crate) fn next_id(&self) -> Option<SeriesId> {
        (self.next < MAX_SERIES_ID).then_some(self.next)
    }

    /// How many numbers are left.
    pub(crate) fn left(&self) -> usize {
        (MAX_SERIES_ID - self.next) as usize
    }

    /// Puts a series at its own number.
    pub(crate) fn insert(&mut self, series: Arc<Series>) {
        let id = series.id();
        let page = id as usize / PAGE;
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let Some(slot) = self.pages.get_mut(page) else { return };
        let page = slot.get_or_insert_with(|| Page { slots: (0..PAGE).map(|_| None).collect(), used: 0 });
        if let Some(slot) = page.slots.get_mut(id as usize % PAGE) {
            *slot = Some(series);
            page.used += 1;
        }
        self.next = self.next.max(id.saturating_add(1));
    }

    pub(crate) fn get(&self, id: SeriesId) -> Option<&Arc<Series>> {
        let page = self.pages.get(id as usize / PAGE)?.as_ref()?;
        page.slots.get(id as usize % PAGE)?.as_ref()
    }

    pub(crate) fn remove(&mut self, id: SeriesId) -> Option<Arc<Series>> {
        let slot = self.pages.get_mut(id as usize / PAGE)?;
        let page = slot.as_mut()?;
        let series = page.slots.get_mut(id as usize % PAGE)?.take()?;
        page.used -= 1;
        if page.used == 0 {
            *slot = None;
        }
        Some(series)
    }
}
