//! How long what is kept: by class, in time and bytes. A class is a partition of the table of blocks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::block::BlockFile;
use crate::columns::TimeRange;
use crate::error::StoreError;
use crate::options::Options;
use crate::part::Part;
use crate::store::{Change, MetricStore};
use crate::telemetry;

/// The class of what no other class has.
pub const DEFAULT_CLASS: &str = "default";

/// A class of retention.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionClass {
    /// How long samples are kept, by their own time; `None`: for ever.
    pub keep: Option<Duration>,
    /// Bytes of blocks at which the oldest go, whatever their age; `None`: any number.
    pub max_bytes: Option<u64>,
}

/// Which class a tenant has; `None` for the default.
#[derive(Clone)]
pub struct ClassOf(Arc<ClassFunction>);

type ClassFunction = dyn Fn(&str) -> Option<String> + Send + Sync;

impl ClassOf {
    /// By a function of the tenant's id, which must be quick.
    pub fn new(class_of: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(class_of))
    }
}

impl Default for ClassOf {
    fn default() -> Self {
        Self::new(|_| None)
    }
}

impl fmt::Debug for ClassOf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClassOf")
    }
}

/// The classes, and who has which.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// By name; [`DEFAULT_CLASS`] keeps what [`Options::retention`] says unless it is here.
    pub classes: BTreeMap<String, RetentionClass>,
    /// Which class a tenant has. A class that is not there is the default.
    pub class_of: ClassOf,
}

impl Options {
    /// The retention class of a tenant, or of our own series.
    pub(crate) fn retention_class(&self, tenant: Option<&str>) -> String {
        let class =
            tenant.filter(|_| !self.classes.classes.is_empty()).and_then(|tenant| (self.classes.class_of.0)(tenant));
        class.filter(|class| self.classes.classes.contains_key(class)).unwrap_or_else(|| DEFAULT_CLASS.to_owned())
    }

    /// What holds for a class; one that is no longer configured is the default.
    pub(crate) fn retention_of(&self, class: &str) -> RetentionClass {
        let known = self.classes.classes.get(class).or_else(|| self.classes.classes.get(DEFAULT_CLASS));
        known.cloned().unwrap_or(RetentionClass { keep: self.retention, max_bytes: None })
    }

    /// The time of the oldest sample that a class keeps.
    fn oldest_ms(&self, keep: Option<Duration>, now_ms: i64) -> i64 {
        let ms = |keep: Duration| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        keep.map_or(i64::MIN, |keep| now_ms.saturating_sub(ms(keep)))
    }

    /// The time of the oldest sample that any class keeps.
    pub(crate) fn oldest_of_all_ms(&self, now_ms: i64) -> i64 {
        let default = self.retention_of(DEFAULT_CLASS);
        let classes = self.classes.classes.values().chain([&default]);
        classes.map(|class| self.oldest_ms(class.keep, now_ms)).min().unwrap_or(i64::MIN)
    }

    /// The time from which on every class keeps samples.
    pub(crate) fn youngest_of_all_ms(&self, now_ms: i64) -> i64 {
        let default = self.retention_of(DEFAULT_CLASS);
        let classes = self.classes.classes.values().chain([&default]);
        classes.map(|class| self.oldest_ms(class.keep, now_ms)).max().unwrap_or(i64::MIN)
    }

    /// The time of the oldest sample that a tenant's class keeps.
    pub(crate) fn oldest_of_tenant_ms(&self, tenant: Option<&str>, now_ms: i64) -> i64 {
        self.oldest_ms(self.retention_of(&self.retention_class(tenant)).keep, now_ms)
    }
}

impl MetricStore {
    /// Drops the parts and blocks whose samples are all older than retention keeps them, and the oldest blocks of classes
    /// that have more bytes than they may.
    pub fn expire(&self) -> Result<(), StoreError> {
        let (parts, blocks) = (self.expire_parts(), self.expire_blocks());
        let expired = parts.and(blocks);
        expired.inspect_err(|_| telemetry::FAILURES.with_label_values(&["expire"]).inc())
    }

    fn expire_parts(&self) -> Result<(), StoreError> {
        let oldest_ms = self.options.oldest_of_all_ms((self.options.now_ms)());
        if oldest_ms == i64::MIN {
            return Ok(());
        }
        let _one_at_a_time = self.merging.lock();
        let parts = self.parts();
        let remove: Vec<Arc<Part>> = parts
            .iter()
            .filter(|part| part.footer().range.max_ms < oldest_ms && !self.is_converting(part.footer().window_ms))
            .cloned()
            .collect();
        drop(parts);
        if remove.is_empty() {
            return Ok(());
        }
        tracing::info!(parts = remove.len(), oldest_ms, "dropping parts past retention");
        self.commit(&Change { remove, ..Change::default() })?;
        self.show_sizes();
        Ok(())
    }

    fn expire_blocks(&self) -> Result<(), StoreError> {
        let past = past_retention(&self.view().blocks, &self.options);
        if past.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.blocks.working.lock();
        // Another one may have been at work meanwhile.
        let past = past_retention(&self.view().blocks, &self.options);
        tracing::info!(files = past.len(), "dropping blocks past retention");
        self.remove_blocks(&past)?;
        self.show_sizes();
        Ok(())
    }
}

/// The files that go: by age, and then the oldest of each class that is too large.
fn past_retention(files: &[Arc<BlockFile>], options: &Options) -> Vec<Arc<BlockFile>> {
    let now_ms = (options.now_ms)();
    let mut by_class: BTreeMap<&str, Vec<&Arc<BlockFile>>> = BTreeMap::new();
    files.iter().for_each(|file| by_class.entry(file.partition("retention")).or_default().push(file));
    let mut past = Vec::new();
    for (class, mut files) in by_class {
        let RetentionClass { keep, max_bytes } = options.retention_of(class);
        let oldest_ms = options.oldest_ms(keep, now_ms);
        files.sort_by_key(|file| std::cmp::Reverse(file.range().max_ms));
        let mut total = 0_u64;
        for file in files {
            total = total.saturating_add(file.size_bytes());
            let TimeRange { max_ms, .. } = file.range();
            if max_ms < oldest_ms || max_bytes.is_some_and(|max_bytes| total > max_bytes) {
                past.push(Arc::clone(file));
            }
        }
    }
    past
}
