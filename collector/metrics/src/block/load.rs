//! Which files and sections a reader needs, and how their series come into the index and leave it.

use std::sync::Arc;

use tenantscope_model::{METRIC_NAME, MatchOp, Matcher, QueryBudget, Scope, SelectError};

use super::directory::{Entry, SectionHead};
use super::error::BlockError;
use super::file::{BlockFile, LoadedFile, Opened, Section};
use crate::columns::TimeRange;
use crate::error::StoreError;
use crate::index::{TENANT, hash_labels};
use crate::series::SeriesId;
use crate::store::MetricStore;
use crate::view::View;

/// Series that join or leave the index under one lock.
const PIECE: usize = 256;

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct What<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) matchers: &'a [Matcher],
    pub(crate) range: TimeRange,
}

/// What a reader finds in blocks.
#[derive(Debug, Clone)]
pub(crate) struct LoadedBlocks {
    /// By time.
    pub(crate) files: Vec<LoadedFile>,
    /// What was live then: whatever the files do not have is in memory or in `View::parts_until_now`.
    pub(crate) view: Arc<View>,
}

/// Whether a reader wants more sections than it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionsWanted {
    /// It has all that it may answer.
    NoMore,
    /// Sections with at least so many series, before it looks again.
    AtLeast(usize),
    /// All that there are.
    All,
}

impl What<'_> {
    pub(super) fn may_be_in(&self, head: &SectionHead) -> bool {
        head.range.overlaps(self.range) && self.names_may_be_in(head) && self.tenants_may_be_in(head)
    }

    fn names_may_be_in(&self, head: &SectionHead) -> bool {
        self.matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME).all(|m| m.matches(&head.metric))
    }

    fn tenants_may_be_in(&self, head: &SectionHead) -> bool {
        let (first, last) = (&*head.tenants.0, &*head.tenants.1);
        let may_be = |tenant: &str| first <= tenant && tenant <= last;
        let in_scope = match self.scope {
            Scope::All => true,
            Scope::Tenants(tenants) => tenants.iter().any(|tenant| may_be(tenant.as_str())),
        };
        let equal = |m: &&Matcher| m.name() == TENANT && m.op() == MatchOp::Equal;
        in_scope && self.matchers.iter().filter(equal).all(|matcher| may_be(matcher.value()))
    }
}

impl MetricStore {
    /// Brings the series that a reader asks for, and that lie in blocks, into the index, and says where they are. They
    /// stay there as long as the answer is held: look for series after this call. Where several things are asked for, a
    /// file may be there for each.
    ///
    /// The reader is asked now and then whether what was loaded so far is enough, first when nothing is: a limit bounds
    /// what is loaded, and not only what is answered.
    pub(crate) fn load_blocks(
        &self,
        whats: &[What<'_>],
        budget: &QueryBudget,
        mut wanted: impl FnMut(&View, &[LoadedFile]) -> Result<SectionsWanted, SelectError>,
    ) -> Result<LoadedBlocks, SelectError> {
        let range = whats.iter().fold(TimeRange::EMPTY, |mut all, what| {
            all.include_range(what.range);
            all
        });
        loop {
            let view = self.view_of(range)?;
            match self.load_view(&view, whats, budget, &mut wanted) {
                // Files may go at once where a tenant is removed; what took their places is known by then.
                Err(SelectError::Store(_)) if !Arc::ptr_eq(&view.blocks, &self.view().blocks) => {}
                loaded => return Ok(LoadedBlocks { files: loaded?, view }),
            }
        }
    }

    fn load_view(
        &self,
        view: &View,
        whats: &[What<'_>],
        budget: &QueryBudget,
        wanted: &mut impl FnMut(&View, &[LoadedFile]) -> Result<SectionsWanted, SelectError>,
    ) -> Result<Vec<LoadedFile>, SelectError> {
        let mut files: Vec<LoadedFile> = Vec::new();
        let (mut loaded, mut enough) = (0, 0);
        for what in whats {
            for file in view.blocks.iter().filter(|file| file.range().overlaps(what.range)) {
                budget.check()?;
                let opened = self.opened(file).map_err(StoreError::from)?;
                files.push(LoadedFile { file: Arc::clone(file), opened: Arc::clone(&opened), sections: Vec::new() });
                for (at, head) in (0_u32..).zip(&opened.sections).filter(|(_, head)| what.may_be_in(head)) {
                    if loaded >= enough {
                        enough = match wanted(view, &files)? {
                            SectionsWanted::NoMore => return Ok(files),
                            // All of it is looked at each time, so that goes by steps that grow.
                            SectionsWanted::AtLeast(more) => loaded + more.max(loaded / 2),
                            SectionsWanted::All => usize::MAX,
                        };
                    }
                    budget.check()?;
                    let section = self.section(file, &opened, at, head).map_err(StoreError::from)?;
                    loaded += section.len();
                    files.last_mut().into_iter().for_each(|file| file.sections.push((at, Arc::clone(&section))));
                }
                files.pop_if(|file| file.sections.is_empty());
            }
        }
        Ok(files)
    }

    /// A file with all its series.
    pub(super) fn load_whole(&self, file: &Arc<BlockFile>) -> Result<LoadedFile, BlockError> {
        let opened = self.opened(file)?;
        let heads = (0_u32..).zip(&opened.sections);
        let sections = heads.map(|(at, head)| Ok((at, self.section(file, &opened, at, head)?)));
        let sections = sections.collect::<Result<Vec<_>, BlockError>>()?;
        Ok(LoadedFile { file: Arc::clone(file), opened, sections })
    }

    /// A file with some of its sections.
    pub(super) fn load_sections(
        &self,
        file: &Arc<BlockFile>,
        is_wanted: impl Fn(&SectionHead) -> bool,
    ) -> Result<LoadedFile, BlockError> {
        let opened = self.opened(file)?;
        let heads = (0_u32..).zip(&opened.sections).filter(|(_, head)| is_wanted(head));
        let sections = heads.map(|(at, head)| Ok((at, self.section(file, &opened, at, head)?)));
        let sections = sections.collect::<Result<Vec<_>, BlockError>>()?;
        Ok(LoadedFile { file: Arc::clone(file), opened, sections })
    }

    pub(super) fn opened(&self, file: &Arc<BlockFile>) -> Result<Arc<Opened>, BlockError> {
        if let Some(opened) = self.blocks.opened.lock().get(file.number) {
            return Ok(opened);
        }
        let _one_loads = file.loading.lock();
        if let Some(opened) = self.blocks.opened.lock().get(file.number) {
            return Ok(opened);
        }
        let opened = Arc::new(file.open()?);
        self.blocks.opened.lock().insert(file.number, Arc::clone(&opened), opened.bytes);
        Ok(opened)
    }

    fn section(
        &self,
        file: &Arc<BlockFile>,
        opened: &Opened,
        at: u32,
        head: &SectionHead,
    ) -> Result<Arc<Section>, BlockError> {
        let key = (file.number, at);
        if let Some(section) = self.blocks.sections.lock().get(key) {
            return Ok(section);
        }
        let _one_loads = file.loading.lock();
        if let Some(section) = self.blocks.sections.lock().get(key) {
            return Ok(section);
        }
        let entries = opened.entries(head)?;
        let section = Arc::new(self.join_index(&entries).map_err(|what| BlockError::damaged(file.path(), &what))?);
        // The cache's bound holds for the series in the index, too.
        let in_index_bytes = self.index.read().bytes_of_blocks();
        let mut sections = self.blocks.sections.lock();
        let gone = sections.insert_beside(key, Arc::clone(&section), section.bytes(), in_index_bytes);
        drop(sections);
        self.leave_index(gone);
        Ok(section)
    }

    /// Its series are in the index from now on, or one reason more for them to be.
    fn join_index(&self, entries: &[Entry]) -> Result<Section, &'static str> {
        let hashes: Vec<_> = entries.iter().map(|entry| hash_labels(&self.hasher, &entry.labels)).collect();
        let mut ids: Vec<SeriesId> = Vec::with_capacity(entries.len());
        for (entries, hashes) in entries.chunks(PIECE).zip(hashes.chunks(PIECE)) {
            let mut index = self.index.write();
            for (entry, hash) in entries.iter().zip(hashes) {
                let Ok(series) = index.join_blocks(*hash, &entry.labels) else {
                    drop(index);
                    self.leave_blocks(&ids);
                    return Err("more series than can be numbered");
                };
                if let (Some(cadence), None) = (entry.cadence, series.cadence()) {
                    series.set_cadence(cadence);
                }
                ids.push(series.id());
            }
            self.memory.set_index(index.bytes());
        }
        Ok(Section::new(ids.into_iter().zip(entries).map(|(id, entry)| (id, entry.run))))
    }

    /// One reason less for these series to be in the index; those go for which it was the last.
    fn leave_blocks(&self, ids: &[SeriesId]) {
        for ids in ids.chunks(PIECE) {
            let mut index = self.index.write();
            ids.iter().for_each(|id| index.leave_blocks(*id));
            index.purge();
            self.memory.set_index(index.bytes());
        }
    }

    /// The series of sections that went from the cache leave the index, once no reader has the sections any more.
    fn leave_index(&self, gone: Vec<Arc<Section>>) {
        let idle: Vec<Arc<Section>> = {
            let mut leaving = self.blocks.leaving.lock();
            leaving.extend(gone);
            let (held, idle) = leaving.drain(..).partition(|section| Arc::strong_count(section) > 1);
            *leaving = held;
            idle
        };
        for section in idle {
            self.leave_blocks(&section.ids().collect::<Vec<_>>());
        }
    }

    /// Forgets what is in memory of files that are no longer live.
    pub(super) fn forget_files(&self, is_gone: impl Fn(u64) -> bool) {
        drop(self.blocks.opened.lock().remove_where(|number| is_gone(*number)));
        let gone = self.blocks.sections.lock().remove_where(|(number, _)| is_gone(*number));
        self.leave_index(gone);
    }

    /// Lets series leave whose sections lost their last reader since.
    pub(super) fn leave_idle(&self) {
        self.leave_index(Vec::new());
    }
}
