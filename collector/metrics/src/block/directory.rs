//! The series index within a file: which series lie in which rows. Readers of Parquet do not see it.
//!
//! It is cut into sections, each of one metric and at most so many series, so that a query loads what it asks for; the
//! directory says which sections there are.

use std::sync::Arc;

use tenantscope_model::{Cadence, Exemplar, Label, Labels};

use crate::chunk::varint::{Bytes, put, put_signed, put_text};
use crate::chunk::{Damaged, exemplars};
use crate::columns::TimeRange;

/// Series in one section.
pub(super) const MAX_SERIES_IN_SECTION: usize = 4096;
/// Bytes of a section or directory before compression: more is damage.
const MAX_RAW_BYTES: u64 = 1 << 30;
const ZSTD_LEVEL: i32 = 3;

/// Where compressed bytes lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) raw_length: u64,
    pub(super) crc: u32,
}

/// What the directory says of a section.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SectionHead {
    /// Empty for series without a name.
    pub(super) metric: Arc<str>,
    /// The first and last tenant in order; empty for series without a tenant.
    pub(super) tenants: (Arc<str>, Arc<str>),
    pub(super) series: u32,
    pub(super) range: TimeRange,
    pub(super) places: Extent,
    /// Empty where the section has no exemplars.
    pub(super) exemplars: Extent,
}

/// In which columns a series' values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// All in `mantissa`, at this scale.
    Decimals(u8),
    /// All in `float_value`.
    Floats,
    /// Some here, some there, or histograms.
    Mixed,
}

/// Rows of a file that are one series', in time order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) group: u32,
    pub(crate) first_row: u32,
    pub(crate) rows: u32,
    pub(crate) range: TimeRange,
    pub(crate) form: Form,
    /// Whether `start_ms` has something.
    pub(crate) has_starts: bool,
    /// The time between two rows where it is always the same, from the first time on: then `time_ms` need not be read.
    /// Otherwise 0.
    pub(crate) step_ms: u32,
}

/// One series of a section, as it is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) labels: Labels,
    pub(super) cadence: Option<Cadence>,
    pub(super) run: Run,
}

/// A section being made.
#[derive(Debug, Default)]
pub(super) struct SectionBuilder {
    pub(super) series: u32,
    symbols: hashbrown::HashMap<Arc<str>, u32>,
    texts: Vec<u8>,
    entries: Vec<u8>,
    exemplars: Vec<u8>,
    exemplar_series: u32,
}

const FLOATS: u8 = 100;
const MIXED: u8 = 101;
const HAS_STARTS: u8 = 0x80;

impl SectionBuilder {
    pub(super) fn add(&mut self, labels: &[(&str, &str)], cadence: Option<Cadence>, run: &Run, given: &[Exemplar]) {
        put(&mut self.entries, labels.len() as u64);
        for (name, value) in labels {
            let name = self.symbol(name);
            let value = self.symbol(value);
            put(&mut self.entries, u64::from(name));
            put(&mut self.entries, u64::from(value));
        }
        put(&mut self.entries, cadence.map_or(0, |cadence| cadence.cadence_ms as u64 + 1));
        put(&mut self.entries, cadence.map_or(0, |cadence| cadence.delay_ms as u64));
        put(&mut self.entries, u64::from(run.group));
        put(&mut self.entries, u64::from(run.first_row));
        put(&mut self.entries, u64::from(run.rows));
        put_signed(&mut self.entries, run.range.min_ms);
        put(&mut self.entries, run.range.max_ms.wrapping_sub(run.range.min_ms) as u64);
        let form = match run.form {
            Form::Decimals(scale) => scale,
            Form::Floats => FLOATS,
            Form::Mixed => MIXED,
        };
        self.entries.push(form | if run.has_starts { HAS_STARTS } else { 0 });
        put(&mut self.entries, u64::from(run.step_ms));
        if !given.is_empty() {
            let bytes = exemplars::write(given);
            put(&mut self.exemplars, u64::from(self.series));
            put(&mut self.exemplars, given.len() as u64);
            put(&mut self.exemplars, bytes.len() as u64);
            self.exemplars.extend_from_slice(&bytes);
            self.exemplar_series += 1;
        }
        self.series += 1;
    }

    fn symbol(&mut self, text: &str) -> u32 {
        if let Some(known) = self.symbols.get(text) {
            return *known;
        }
        let next = self.symbols.len() as u32;
        put_text(&mut self.texts, text);
        self.symbols.insert(text.into(), next);
        next
    }

    /// The bytes of the places, and of the exemplars if there are any; the builder is empty then.
    pub(super) fn take(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut out = Vec::with_capacity(self.texts.len() + self.entries.len() + 10);
        put(&mut out, self.symbols.len() as u64);
        out.append(&mut self.texts);
        out.append(&mut self.entries);
        let exemplars = (self.exemplar_series > 0).then(|| {
            let mut out = Vec::with_capacity(self.exemplars.len() + 5);
            put(&mut out, u64::from(self.exemplar_series));
            out.append(&mut self.exemplars);
            out
        });
        *self = Self::default();
        (out, exemplars)
    }
}

/// The series of a section, in the order of their rows.
pub(super) fn read_entries(raw: &[u8], head: &SectionHead) -> Result<Vec<Entry>, Damaged> {
    let mut bytes = Bytes(raw);
    let symbols = bytes.count()?;
    let symbols = (0..symbols).map(|_| bytes.text().map(Arc::from)).collect::<Result<Vec<Arc<str>>, _>>()?;
    let entries = (0..head.series).map(|_| read_entry(&mut bytes, &symbols)).collect::<Result<Vec<_>, _>>()?;
    if !bytes.is_empty() {
        return Err(Damaged("section goes on after its last series"));
    }
    Ok(entries)
}

fn read_entry(bytes: &mut Bytes<'_>, symbols: &[Arc<str>]) -> Result<Entry, Damaged> {
    let symbol = |bytes: &mut Bytes<'_>| {
        let number = bytes.small()? as usize;
        symbols.get(number).cloned().ok_or(Damaged("symbol that is not in the section"))
    };
    let count = bytes.count()?;
    let labels = (0..count)
        .map(|_| Ok(Label { name: symbol(bytes)?, value: symbol(bytes)? }))
        .collect::<Result<Vec<_>, Damaged>>()?;
    let labels = Labels::try_new(labels).map_err(|_| Damaged("series with the same label twice"))?;
    let (cadence_ms, delay_ms) = (bytes.number()?, bytes.number()?);
    let cadence = cadence_ms.checked_sub(1).map(|cadence_ms| Cadence::capped(cadence_ms as i64, delay_ms as i64));
    let (group, first_row, rows) = (bytes.small()?, bytes.small()?, bytes.small()?);
    let min_ms = bytes.signed()?;
    let max_ms = min_ms.wrapping_add(bytes.number()? as i64);
    let form = bytes.byte()?;
    let has_starts = form & HAS_STARTS != 0;
    let form = match form & !HAS_STARTS {
        FLOATS => Form::Floats,
        MIXED => Form::Mixed,
        scale if scale <= super::decimal::MAX_SCALE => Form::Decimals(scale),
        _ => return Err(Damaged("unknown form of values")),
    };
    let step_ms = bytes.small()?;
    let range = TimeRange { min_ms, max_ms };
    Ok(Entry { labels, cadence, run: Run { group, first_row, rows, range, form, has_starts, step_ms } })
}

/// The exemplars of a section: the series' number within it, and what it has within the range.
pub(super) fn read_exemplars(raw: &[u8], range: TimeRange) -> Result<Vec<(u32, Vec<Exemplar>)>, Damaged> {
    let mut bytes = Bytes(raw);
    let mut all = Vec::new();
    for _ in 0..bytes.count()? {
        let (series, count, length) = (bytes.small()?, bytes.small()?, bytes.count()?);
        let mut own = Vec::new();
        exemplars::read(bytes.take(length)?, count, range, &mut own)?;
        all.push((series, own));
    }
    Ok(all)
}

/// All sections as bytes.
pub(super) fn write_directory(sections: &[SectionHead]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, sections.len() as u64);
    for head in sections {
        put_text(&mut out, &head.metric);
        put_text(&mut out, &head.tenants.0);
        put_text(&mut out, &head.tenants.1);
        put(&mut out, u64::from(head.series));
        put_signed(&mut out, head.range.min_ms);
        put_signed(&mut out, head.range.max_ms);
        for extent in [head.places, head.exemplars] {
            put(&mut out, extent.offset);
            put(&mut out, extent.length);
            put(&mut out, extent.raw_length);
            out.extend_from_slice(&extent.crc.to_le_bytes());
        }
    }
    out
}

pub(super) fn read_directory(raw: &[u8]) -> Result<Vec<SectionHead>, Damaged> {
    let mut bytes = Bytes(raw);
    let count = bytes.count()?;
    // Neighbours mostly share their texts.
    let mut last: Arc<str> = Arc::from("");
    let mut sections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut text = |bytes: &mut Bytes<'_>| -> Result<Arc<str>, Damaged> {
            let text = bytes.text()?;
            if *last != *text {
                last = Arc::from(text);
            }
            Ok(Arc::clone(&last))
        };
        let metric = text(&mut bytes)?;
        let tenants = (text(&mut bytes)?, text(&mut bytes)?);
        let series = bytes.small()?;
        let range = TimeRange { min_ms: bytes.signed()?, max_ms: bytes.signed()? };
        let (places, exemplars) = (read_extent(&mut bytes)?, read_extent(&mut bytes)?);
        sections.push(SectionHead { metric, tenants, series, range, places, exemplars });
    }
    Ok(sections)
}

fn read_extent(bytes: &mut Bytes<'_>) -> Result<Extent, Damaged> {
    Ok(Extent { offset: bytes.number()?, length: bytes.number()?, raw_length: bytes.number()?, crc: bytes.fixed32()? })
}

/// Compresses bytes that will lie at an offset.
pub(super) fn pack(raw: &[u8], offset: u64) -> std::io::Result<(Vec<u8>, Extent)> {
    let compressed = zstd::bulk::compress(raw, ZSTD_LEVEL)?;
    let crc = crc32fast::hash(&compressed);
    let extent = Extent { offset, length: compressed.len() as u64, raw_length: raw.len() as u64, crc };
    Ok((compressed, extent))
}

/// Checks and decompresses bytes.
pub(super) fn unpack(compressed: &[u8], extent: &Extent) -> Result<Vec<u8>, Damaged> {
    if crc32fast::hash(compressed) != extent.crc {
        return Err(Damaged("checksum of the series index"));
    }
    if extent.raw_length > MAX_RAW_BYTES {
        return Err(Damaged("length of the series index"));
    }
    zstd::bulk::decompress(compressed, extent.raw_length as usize)
        .map_err(|_| Damaged("compression of the series index"))
}
