//! What metric families say of themselves, by tenant.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use tenantscope_model::{FamilyMetadata, Metadata, MetricKind, Scope, TenantId};

use crate::chunk::Damaged;
use crate::chunk::varint::{Bytes, put, put_text};
use crate::memory::Memory;
use crate::telemetry;

/// Families of one tenant; further ones are dropped and counted.
const MAX_FAMILIES_PER_TENANT: usize = 10_000;
/// Bytes of a family's help; the rest is cut off.
const MAX_HELP_BYTES: usize = 1024;
/// Bytes of a family's name and of its unit. What is cut off would be missed, so longer ones are dropped and counted.
const MAX_NAME_BYTES: usize = 1024;
const MAX_UNIT_BYTES: usize = 256;
/// All families take at most one part in so many of the store's memory. No flush gives it back, so past it new ones are
/// dropped and counted; else writes would be refused for good.
const MEMORY_PARTS: usize = 8;

/// Why families are dropped.
const TOO_LONG: &str = "too_long";
const TENANT_LIMIT: &str = "tenant_limit";
const NO_MEMORY: &str = "memory";

/// About what the tables take for a name, for what one tenant says of it, for a text that tenants share, and for a
/// tenant, beside the texts themselves.
const NAME_BYTES: usize = 192;
const ENTRY_BYTES: usize = 40;
const SHARED_BYTES: usize = 112;
const TENANT_BYTES: usize = 64;

/// The newest metadata of each family and tenant.
#[derive(Debug, Default)]
pub(crate) struct Families {
    by_name: BTreeMap<Arc<str>, HashMap<Option<TenantId>, Arc<Metadata>>>,
    counts: HashMap<Option<TenantId>, usize>,
    /// Tenants mostly say the same, so each different text is kept once, as long as one of them says it.
    shared: HashSet<Arc<Metadata>>,
    version: u64,
    /// About what all this takes on the heap.
    bytes: usize,
    /// `None` while a file is read.
    max_bytes: Option<usize>,
    /// Where the bytes are counted.
    memory: Memory,
}

/// Some families, and the name of the last one if there may be more.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) found: Vec<(Arc<str>, Vec<Metadata>)>,
    pub(crate) last: Option<Arc<str>>,
}

impl Families {
    /// Rises with every change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// From now on the bytes are counted as some of the store's memory, and are at most a part of it.
    pub(crate) fn within(mut self, memory: &Memory, memory_max_bytes: usize) -> Self {
        self.memory = memory.clone();
        self.max_bytes = Some(memory_max_bytes / MEMORY_PARTS);
        self.memory.set_families(self.bytes);
        self
    }

    /// Whether taking this would change nothing, which is the usual case.
    pub(crate) fn knows(&self, new: &FamilyMetadata) -> bool {
        let known = self.by_name.get(&new.family).and_then(|tenants| tenants.get(&new.tenant));
        let Metadata { kind, unit, help } = &new.metadata;
        known.is_some_and(|known| known.kind == *kind && known.unit == *unit && *known.help == *shortened(help))
    }

    /// Takes what a tenant says of a family, or drops and counts it.
    pub(crate) fn take(&mut self, new: FamilyMetadata) {
        if let Err(reason) = self.try_take(new) {
            telemetry::DROPPED_FAMILIES.with_label_values(&[reason]).inc();
        }
        self.memory.set_families(self.bytes);
    }

    /// Nothing is made before all limits are looked at, so that what is dropped leaves nothing behind.
    fn try_take(&mut self, new: FamilyMetadata) -> Result<(), &'static str> {
        let FamilyMetadata { tenant, family, metadata } = new;
        if family.len() > MAX_NAME_BYTES || metadata.unit.len() > MAX_UNIT_BYTES {
            return Err(TOO_LONG);
        }
        let metadata = cut(metadata);
        let tenants = self.by_name.get(&family);
        let known = tenants.and_then(|tenants| tenants.get(&tenant));
        if known.is_some_and(|known| **known == metadata) {
            return Ok(());
        }
        let (is_new_name, is_new) = (tenants.is_none(), known.is_none());
        let count = self.counts.get(&tenant).copied().unwrap_or_default();
        if is_new && count >= MAX_FAMILIES_PER_TENANT {
            return Err(TENANT_LIMIT);
        }
        let of_name = if is_new_name { name_bytes(&family) } else { 0 };
        let of_tenant = if count == 0 { tenant_bytes(tenant.as_ref()) } else { 0 };
        let of_text = if self.shared.contains(&metadata) { 0 } else { shared_bytes(&metadata) };
        let entry = if is_new { ENTRY_BYTES } else { 0 };
        let more = of_name + of_tenant + of_text + entry;
        if self.max_bytes.is_some_and(|max_bytes| self.bytes + more > max_bytes) {
            return Err(NO_MEMORY);
        }
        self.bytes += more;
        self.put(tenant, family, metadata);
        Ok(())
    }

    fn put(&mut self, tenant: Option<TenantId>, family: Arc<str>, metadata: Metadata) {
        let metadata = self.share(metadata);
        // The same id for all of a tenant's families.
        let tenant = self.counts.get_key_value(&tenant).map_or(tenant, |(known, _)| known.clone());
        match self.by_name.entry(family).or_default().insert(tenant.clone(), metadata) {
            Some(before) => self.unshare(&before),
            None => *self.counts.entry(tenant).or_default() += 1,
        }
        self.version += 1;
    }

    /// Forgets what a tenant says, and how many families that were.
    pub(crate) fn remove_tenant(&mut self, tenant: &TenantId) -> u64 {
        let tenant = Some(tenant.clone());
        let mut gone: Vec<Arc<Metadata>> = Vec::new();
        let mut freed_bytes = 0;
        self.by_name.retain(|name, tenants| {
            gone.extend(tenants.remove(&tenant));
            freed_bytes += if tenants.is_empty() { name_bytes(name) } else { 0 };
            !tenants.is_empty()
        });
        if self.counts.remove(&tenant).is_some() {
            freed_bytes += tenant_bytes(tenant.as_ref());
        }
        let removed = gone.len();
        self.bytes -= freed_bytes + removed * ENTRY_BYTES;
        for metadata in gone {
            self.unshare(&metadata);
        }
        self.memory.set_families(self.bytes);
        self.version += u64::from(removed > 0);
        removed as u64
    }

    fn share(&mut self, metadata: Metadata) -> Arc<Metadata> {
        if let Some(known) = self.shared.get(&metadata) {
            return Arc::clone(known);
        }
        let metadata = Arc::new(metadata);
        self.shared.insert(Arc::clone(&metadata));
        metadata
    }

    /// One tenant less says this.
    fn unshare(&mut self, metadata: &Arc<Metadata>) {
        // The other one is in `shared`.
        if Arc::strong_count(metadata) == 2 && self.shared.remove(metadata) {
            self.bytes -= shared_bytes(metadata);
        }
    }

    /// Families within the scope, by name, from the one after `after` on; so many are looked at. The same metadata of
    /// several tenants is one entry.
    pub(crate) fn read(&self, scope: &Scope, only: Option<&str>, after: Option<&Arc<str>>, most: usize) -> Piece {
        let from = match (only, after) {
            (Some(only), None) => Bound::Included(only),
            (None, Some(after)) => Bound::Excluded(&**after),
            (None, None) => Bound::Unbounded,
            (Some(_), Some(_)) => return Piece::default(),
        };
        let most = if only.is_some() { 1 } else { most };
        let mut piece = Piece::default();
        for (at, (name, tenants)) in self.by_name.range::<str, _>((from, Bound::Unbounded)).take(most).enumerate() {
            if only.is_some_and(|only| **name != *only) {
                break;
            }
            let different = different_of(scope, tenants);
            if !different.is_empty() {
                piece.found.push((Arc::clone(name), different));
            }
            piece.last = (at + 1 == most).then(|| Arc::clone(name));
        }
        piece
    }

    /// All of it as bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.by_name.len() as u64);
        for (name, tenants) in &self.by_name {
            put_text(&mut out, name);
            put(&mut out, tenants.len() as u64);
            for (tenant, metadata) in tenants {
                put_text(&mut out, tenant.as_ref().map_or("", TenantId::as_str));
                out.push(kind_byte(metadata.kind));
                put_text(&mut out, &metadata.unit);
                put_text(&mut out, &metadata.help);
            }
        }
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut bytes = Bytes(bytes);
        let mut families = Self::default();
        for _ in 0..bytes.count()? {
            let family: Arc<str> = bytes.text()?.into();
            for _ in 0..bytes.count()? {
                let tenant = match bytes.text()? {
                    "" => None,
                    id => Some(TenantId::try_new(id).map_err(|_| Damaged("not a tenant id"))?),
                };
                let kind = kind_of(bytes.byte()?)?;
                let metadata = Metadata { kind, unit: bytes.text()?.into(), help: bytes.text()?.into() };
                families.take(FamilyMetadata { tenant, family: Arc::clone(&family), metadata });
            }
        }
        Ok(families)
    }
}

/// What the tenants within the scope say, each text once.
fn different_of(scope: &Scope, tenants: &HashMap<Option<TenantId>, Arc<Metadata>>) -> Vec<Metadata> {
    let within = tenants.iter().filter(|(tenant, _)| scope.allows(tenant.as_ref())).map(|(_, metadata)| metadata);
    // Equal ones are the same in memory.
    let different: HashMap<*const Metadata, &Metadata> =
        within.map(|metadata| (Arc::as_ptr(metadata), &**metadata)).collect();
    let mut different: Vec<Metadata> = different.into_values().cloned().collect();
    let text = |one: &Metadata| (Arc::clone(&one.help), Arc::clone(&one.unit), kind_byte(one.kind));
    different.sort_by_cached_key(text);
    different
}

fn name_bytes(name: &str) -> usize {
    NAME_BYTES + name.len()
}

fn tenant_bytes(tenant: Option<&TenantId>) -> usize {
    TENANT_BYTES + tenant.map_or(0, |tenant| tenant.as_str().len())
}

fn shared_bytes(metadata: &Metadata) -> usize {
    SHARED_BYTES + metadata.unit.len() + metadata.help.len()
}

fn shortened(help: &str) -> &str {
    help.split_at(help.floor_char_boundary(MAX_HELP_BYTES)).0
}

fn cut(metadata: Metadata) -> Metadata {
    if metadata.help.len() <= MAX_HELP_BYTES {
        return metadata;
    }
    let help = shortened(&metadata.help).into();
    Metadata { help, ..metadata }
}

/// New ones come last: their places are what the file has.
const KINDS: [MetricKind; 8] = [
    MetricKind::Unknown,
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::GaugeHistogram,
    MetricKind::StateSet,
];

fn kind_byte(kind: MetricKind) -> u8 {
    KINDS.iter().position(|other| *other == kind).unwrap_or(0) as u8
}

fn kind_of(byte: u8) -> Result<MetricKind, Damaged> {
    KINDS.get(usize::from(byte)).copied().ok_or(Damaged("not a kind of metric"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(tenant: &str, family: &str, help: &str) -> FamilyMetadata {
        let metadata = Metadata { kind: MetricKind::Gauge, unit: "".into(), help: help.into() };
        FamilyMetadata { tenant: Some(TenantId::try_new(tenant).unwrap()), family: family.into(), metadata }
    }

    #[test]
    fn what_a_tenant_says_past_its_limit_leaves_nothing_behind() {
        let mut families = Families::default();
        for number in 0..MAX_FAMILIES_PER_TENANT {
            families.take(family("a", &format!("family_{number}"), "help"));
        }
        let (bytes, version) = (families.bytes, families.version());
        for number in 0..1000 {
            families.take(family("a", &format!("further_{number}"), &format!("help {number}")));
        }
        assert_eq!((families.bytes, families.version()), (bytes, version));
        assert_eq!((families.by_name.len(), families.shared.len()), (MAX_FAMILIES_PER_TENANT, 1));
        families.take(family("a", "family_7", "better help"));
        families.take(family("b", "further_7", "help"));
        assert_eq!(families.version(), version + 2, "a known family changes, and another tenant has its own limit");
    }

    #[test]
    fn tenants_that_say_nothing_that_can_be_taken_leave_nothing_behind() {
        let mut families = Families::default().within(&Memory::default(), 8 * 2048);
        for number in 0..1000 {
            families.take(family(&format!("long-{number}"), &"n".repeat(MAX_NAME_BYTES + 1), "help"));
        }
        assert_eq!((families.by_name.len(), families.counts.len(), families.bytes), (0, 0, 0));
        for number in 0..1000 {
            families.take(family(&format!("many-{number}"), &format!("family_{number}"), "help"));
        }
        assert!(families.bytes <= 2048, "{}", families.bytes);
        let taken = families.by_name.len();
        assert!((1..10).contains(&taken), "{taken}");
        assert_eq!((families.counts.len(), families.shared.len()), (taken, 1));
    }

    #[test]
    fn all_bytes_are_given_back() {
        let memory = Memory::default();
        let mut families = Families::default().within(&memory, 1 << 30);
        for round in 0..3 {
            for number in 0..100 {
                let help = format!("{} {}", number % 7, round);
                families.take(family(["a", "b"][number % 2], &format!("family_{}", number % 30), &help));
            }
        }
        assert!(families.shared.len() <= families.by_name.len(), "texts that nobody says any more go");
        assert_eq!(memory.index(), families.bytes);
        assert!(families.bytes > 30 * NAME_BYTES);
        for tenant in ["a", "b"] {
            families.remove_tenant(&TenantId::try_new(tenant).unwrap());
        }
        assert_eq!((families.bytes, memory.index(), families.shared.len()), (0, 0, 0));
    }

    #[test]
    fn a_long_help_is_cut_and_known_when_it_comes_again() {
        let mut families = Families::default();
        let long = family("a", "up", &"ä".repeat(MAX_HELP_BYTES));
        families.take(long.clone());
        assert!(families.knows(&long));
        assert!(!families.knows(&family("a", "up", &"ä".repeat(10))));
    }

    #[test]
    fn families() {
        tenantscope_fuzz::fuzz!("families", |input| {
            let Ok(read) = Families::from_bytes(input) else { return };
            let again = Families::from_bytes(&read.to_bytes()).unwrap();
            assert_eq!((again.by_name.len(), again.bytes), (read.by_name.len(), read.bytes));
        });
    }
}
