//! What readers see: the live files at one moment. A reader holds a view until it ends, and with it everything that went
//! since into files that the view does not have.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};
use tenantscope_model::SelectError;

use crate::block::BlockFile;
use crate::columns::TimeRange;
use crate::part::Part;
use crate::series::SeriesId;
use crate::store::MetricStore;

/// The files that readers see at one moment.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The live parts, by window, then from older to newer writes.
    pub(crate) parts: Arc<Vec<Arc<Part>>>,
    /// The table's files by time; all of them are older writes than the parts.
    pub(crate) blocks: Arc<Vec<Arc<BlockFile>>>,
    /// Whether the table could be asked since the store opened.
    pub(crate) blocks_known: bool,
    /// What took its place. Views hold later ones and never earlier ones, so they go with their last reader.
    next: OnceLock<Successor>,
}

#[derive(Debug)]
struct Successor {
    view: Arc<View>,
    /// Parts that the later view has as blocks.
    converted: Vec<Arc<Part>>,
}

/// The newest view, and what older ones still need.
#[derive(Debug)]
pub(crate) struct Views {
    newest: RwLock<Arc<View>>,
    /// Series of parts that became blocks: they stay in the index until no reader is left who looks for them in parts.
    needed: Mutex<Vec<(Weak<View>, Vec<SeriesId>)>>,
}

impl View {
    pub(crate) fn new(parts: Arc<Vec<Arc<Part>>>, blocks: Arc<Vec<Arc<BlockFile>>>, blocks_known: bool) -> Self {
        Self { parts, blocks, blocks_known, next: OnceLock::new() }
    }

    /// The parts that a reader of this view's blocks has to read, in the order of [`View::parts`]: those that are live
    /// now, and those that became blocks since, which are not in the blocks that it knows.
    ///
    /// A reader looks at memory first and then here: samples leave memory only after their parts came in.
    pub(crate) fn parts_until_now(&self) -> Arc<Vec<Arc<Part>>> {
        let mut converted: Vec<Arc<Part>> = Vec::new();
        let mut newest = self;
        while let Some(next) = newest.next.get() {
            converted.extend(next.converted.iter().cloned());
            newest = &next.view;
        }
        if converted.is_empty() {
            return Arc::clone(&newest.parts);
        }
        converted.extend(newest.parts.iter().cloned());
        sort_parts(&mut converted);
        Arc::new(converted)
    }
}

impl Views {
    pub(crate) fn new(parts: Vec<Arc<Part>>) -> Self {
        let first = View::new(Arc::new(parts), Arc::default(), false);
        Self { newest: RwLock::new(Arc::new(first)), needed: Mutex::default() }
    }

    /// Puts a view in the place of the newest one, which it is made from: files and blocks are shown by different threads.
    /// The lock is held for that alone, so that no reader waits for whoever makes files.
    pub(crate) fn replace(&self, converted: Vec<Arc<Part>>, next: impl FnOnce(&View) -> View) {
        let mut newest = self.newest.write();
        let view = Arc::new(next(&newest));
        let before = std::mem::replace(&mut *newest, Arc::clone(&view));
        if !converted.is_empty() {
            let ids = converted.iter().flat_map(|part| part.ids()).collect();
            self.needed.lock().push((Arc::downgrade(&before), ids));
        }
        // Nobody else gives a view a successor.
        let _ = before.next.set(Successor { view, converted });
    }

    /// The series of converted parts that no reader needs any more.
    fn take_unneeded(&self) -> Vec<SeriesId> {
        let mut needed = self.needed.lock();
        let (held, unneeded): (Vec<_>, Vec<_>) = needed.drain(..).partition(|(view, _)| view.strong_count() > 0);
        *needed = held;
        unneeded.into_iter().flat_map(|(_, ids)| ids).collect()
    }
}

impl MetricStore {
    /// Parts and blocks at one moment: every sample that left memory is in one of them.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.newest.read())
    }

    /// The live parts, by window, then from older to newer writes.
    pub(crate) fn parts(&self) -> Arc<Vec<Arc<Part>>> {
        Arc::clone(&self.views.newest.read().parts)
    }

    /// What a reader of a range needs to know. Where the table can't be asked, only readers of times that were never
    /// converted get an answer.
    pub(crate) fn view_of(&self, range: TimeRange) -> Result<Arc<View>, SelectError> {
        let view = self.view();
        if view.blocks_known || !self.may_have_blocks() {
            return Ok(view);
        }
        if self.blocks_until_ms().is_some_and(|until_ms| range.min_ms >= until_ms) {
            return Ok(view);
        }
        self.block_table_for_reader()?;
        Ok(self.view())
    }

    /// The table's files from now on.
    pub(crate) fn show_blocks(&self, blocks: Arc<Vec<Arc<BlockFile>>>) {
        self.views.replace(Vec::new(), |newest| View::new(Arc::clone(&newest.parts), blocks, true));
    }

    /// Series of converted parts leave the index once no reader looks for them in these any more.
    pub(crate) fn leave_unneeded(&self) {
        let ids = self.views.take_unneeded();
        self.leave_ids(&ids);
    }
}

pub(crate) fn sort_parts(parts: &mut [Arc<Part>]) {
    parts.sort_by_key(|part| (part.footer().window_ms, part.footer().max_position, part.number()));
}
