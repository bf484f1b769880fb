//! What metric families say of themselves, by tenant.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use tenantscope_model::{FamilyMetadata, Metadata, MetricKind, Scope, TenantId};

use crate::chunk::Damaged;
use crate::chunk::varint::{Bytes, put, put_text};
use crate::telemetry;

/// Families of one tenant; further ones are dropped and counted.
pub(crate) const MAX_FAMILIES_PER_TENANT: usize = 10_000;
/// Bytes of a family's help; the rest is cut off.
pub(crate) const MAX_HELP_BYTES: usize = 1024;

/// The newest metadata of each family and tenant.
#[derive(Debug, Default)]
pub(crate) struct Families {
    by_name: BTreeMap<Arc<str>, HashMap<Option<TenantId>, Arc<Metadata>>>,
    counts: HashMap<Option<TenantId>, usize>,
    /// Tenants mostly say the same, so each different text is kept once.
    shared: HashSet<Arc<Metadata>>,
    version: u64,
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

    /// Whether taking this would change nothing, which is the usual case.
    pub(crate) fn knows(&self, new: &FamilyMetadata) -> bool {
        let known = self.by_name.get(&new.family).and_then(|tenants| tenants.get(&new.tenant));
        known.is_some_and(|known| **known == new.metadata)
    }

    pub(crate) fn take(&mut self, new: FamilyMetadata) {
        let metadata = self.share(cut(new.metadata));
        let tenants = self.by_name.entry(new.family).or_default();
        if let Some(known) = tenants.get_mut(&new.tenant) {
            if *known != metadata {
                *known = metadata;
                self.version += 1;
            }
            return;
        }
        let count = self.counts.entry(new.tenant.clone()).or_default();
        if *count >= MAX_FAMILIES_PER_TENANT {
            telemetry::DROPPED_FAMILIES.inc();
            return;
        }
        *count += 1;
        tenants.insert(new.tenant, metadata);
        self.version += 1;
    }

    /// Forgets what a tenant says, and how many families that were.
    pub(crate) fn remove_tenant(&mut self, tenant: &TenantId) -> u64 {
        let tenant = Some(tenant.clone());
        let mut removed = 0;
        self.by_name.retain(|_, tenants| {
            removed += u64::from(tenants.remove(&tenant).is_some());
            !tenants.is_empty()
        });
        self.counts.remove(&tenant);
        self.version += u64::from(removed > 0);
        self.shared.retain(|metadata| Arc::strong_count(metadata) > 1);
        removed
    }

    fn share(&mut self, metadata: Metadata) -> Arc<Metadata> {
        if let Some(known) = self.shared.get(&metadata) {
            return Arc::clone(known);
        }
        if self.shared.len() > 2 * self.by_name.len() + 1024 {
            self.shared.retain(|metadata| Arc::strong_count(metadata) > 1);
        }
        let metadata = Arc::new(metadata);
        self.shared.insert(Arc::clone(&metadata));
        metadata
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

fn cut(metadata: Metadata) -> Metadata {
    if metadata.help.len() <= MAX_HELP_BYTES {
        return metadata;
    }
    let end = metadata.help.floor_char_boundary(MAX_HELP_BYTES);
    let help = metadata.help.split_at(end).0.into();
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
