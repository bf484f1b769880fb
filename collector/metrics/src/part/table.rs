//! The series table of a part: which series its blocks are of, and how long each block is.

use std::sync::Arc;

use hashbrown::HashMap;
use tenantscope_model::Cadence;

use crate::chunk::Damaged;
use crate::chunk::varint::{Bytes, put, put_text};
use crate::index::{LabelTexts, Shape};
use crate::series::Series;

/// What stands for a symbol that the table does not have yet.
const UNKNOWN: u32 = u32::MAX;

/// The table as it grows.
#[derive(Debug, Default)]
pub(super) struct TableWriter {
    /// The table's number of each symbol of the index.
    numbers: Vec<u32>,
    symbols: u32,
    texts: Vec<u8>,
    /// By address, since series share them.
    shape_numbers: HashMap<usize, u32>,
    /// Kept, so that no other one gets the address.
    shapes: Vec<Arc<Shape>>,
    shape_bytes: Vec<u8>,
    series: Vec<u8>,
}

impl TableWriter {
    pub(super) fn add(&mut self, series: &Series, texts: &LabelTexts, block_length: u32) {
        let shape = self.shape(series.shape(), texts);
        put(&mut self.series, u64::from(shape));
        for value in series.values() {
            let value = self.symbol(*value, texts);
            put(&mut self.series, u64::from(value));
        }
        put(&mut self.series, u64::from(block_length));
        let cadence = series.cadence();
        put(&mut self.series, cadence.map_or(0, |cadence| cadence.cadence_ms as u64 + 1));
        if let Some(cadence) = cadence {
            put(&mut self.series, cadence.delay_ms as u64);
        }
    }

    fn shape(&mut self, shape: &Arc<Shape>, texts: &LabelTexts) -> u32 {
        let address = Arc::as_ptr(shape).addr();
        if let Some(known) = self.shape_numbers.get(&address) {
            return *known;
        }
        let next = self.shapes.len() as u32;
        self.shape_numbers.insert(address, next);
        self.shapes.push(Arc::clone(shape));
        put(&mut self.shape_bytes, shape.names().len() as u64);
        for name in shape.names() {
            let name = self.symbol(*name, texts);
            put(&mut self.shape_bytes, u64::from(name));
        }
        next
    }

    fn symbol(&mut self, symbol: u32, texts: &LabelTexts) -> u32 {
        let at = symbol as usize;
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, UNKNOWN);
        }
        let Some(number) = self.numbers.get_mut(at) else { return UNKNOWN };
        if *number == UNKNOWN {
            *number = self.symbols;
            self.symbols += 1;
            put_text(&mut self.texts, texts.text(symbol));
        }
        *number
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.texts.len() + self.shape_bytes.len() + self.series.len() + 20);
        put(&mut out, u64::from(self.symbols));
        out.append(&mut self.texts);
        put(&mut out, self.shapes.len() as u64);
        out.append(&mut self.shape_bytes);
        out.append(&mut self.series);
        out
    }
}

/// A table being read, series after series.
#[derive(Debug)]
pub(crate) struct SeriesTable<'a> {
    /// All label strings.
    pub(crate) texts: Vec<&'a str>,
    /// Numbers of names, in the order of their texts.
    pub(crate) shapes: Vec<Vec<u32>>,
    series: Bytes<'a>,
    left: u32,
}

/// One series of a table.
#[derive(Debug, Default)]
pub(crate) struct TableEntry {
    pub(crate) shape: usize,
    /// Numbers of the values' texts.
    pub(crate) values: Vec<u32>,
    pub(crate) block_length: u32,
    pub(crate) cadence: Option<Cadence>,
}

impl<'a> SeriesTable<'a> {
    pub(super) fn read(raw: &'a [u8], series: u32) -> Result<Self, Damaged> {
        let mut bytes = Bytes(raw);
        let texts = (0..bytes.count()?).map(|_| bytes.text()).collect::<Result<Vec<_>, _>>()?;
        let shapes = (0..bytes.count()?).map(|_| shape(&mut bytes, &texts)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { texts, shapes, series: bytes, left: series })
    }

    /// The next series, put into `entry`; says whether there was one.
    pub(crate) fn next(&mut self, entry: &mut TableEntry) -> Result<bool, Damaged> {
        if self.left == 0 {
            return if self.series.is_empty() { Ok(false) } else { Err(Damaged("series table is too long")) };
        }
        self.left -= 1;
        entry.shape = self.series.small()? as usize;
        let names = self.shapes.get(entry.shape).ok_or(Damaged("names that are not in the series table"))?;
        entry.values.clear();
        for _ in names {
            let value = self.series.small()?;
            if self.texts.get(value as usize).is_none_or(|text| text.is_empty()) {
                return Err(Damaged("value that is not in the series table"));
            }
            entry.values.push(value);
        }
        entry.block_length = self.series.small()?;
        let cadence_ms = self.series.number()?.checked_sub(1);
        entry.cadence = match cadence_ms {
            Some(cadence_ms) => Some(Cadence::capped(cadence_ms as i64, self.series.number()? as i64)),
            None => None,
        };
        Ok(true)
    }
}

/// Names rise, so none comes twice.
fn shape(bytes: &mut Bytes<'_>, texts: &[&str]) -> Result<Vec<u32>, Damaged> {
    let names = (0..bytes.count()?).map(|_| bytes.small()).collect::<Result<Vec<u32>, _>>()?;
    let text = |name: &u32| texts.get(*name as usize).copied().unwrap_or_default();
    if !names.is_sorted_by(|a, b| text(a) < text(b)) || names.first().is_some_and(|first| text(first).is_empty()) {
        return Err(Damaged("names of a series are not in order"));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_table() {
        tenantscope_fuzz::fuzz!("series_table", |input| {
            let Some((series, bytes)) = input.split_first() else { return };
            let Ok(mut table) = SeriesTable::read(bytes, u32::from(*series)) else { return };
            let mut entry = TableEntry::default();
            let mut read = 0;
            while let Ok(true) = table.next(&mut entry) {
                read += 1;
                // Whoever joins it takes these as they are.
                let names = table.shapes.get(entry.shape).unwrap();
                assert_eq!(names.len(), entry.values.len());
                assert!(names.iter().chain(&entry.values).all(|text| !table.texts[*text as usize].is_empty()));
            }
            assert!(read <= u32::from(*series));
        });
    }
}
