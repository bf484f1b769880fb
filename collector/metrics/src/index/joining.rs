//! The series of a part come in at once, each of its strings looked up once.

use std::sync::Arc;

use super::shapes::Shape;
use super::symbols::Symbol;
use super::{Index, NumbersSpent};
use crate::chunk::Damaged;
use crate::part::{SeriesTable, TableEntry};
use crate::series::Series;

/// Why the series of a part could not come in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("more series than can be numbered")]
    NumbersSpent,
}

impl From<NumbersSpent> for JoinError {
    fn from(_: NumbersSpent) -> Self {
        Self::NumbersSpent
    }
}

impl Index {
    /// Finds or makes the series of a table, in its order.
    pub(crate) fn join(
        &mut self,
        mut table: SeriesTable<'_>,
        mut visit: impl FnMut(&Arc<Series>, &TableEntry),
    ) -> Result<(), JoinError> {
        // One use each as long as the table is read.
        let symbols = table.texts.iter().map(|text| self.symbols.take(text)).collect::<Result<Vec<Symbol>, _>>()?;
        let symbol = |number: &u32| symbols.get(*number as usize).copied().unwrap_or_default();
        let mut shapes: Vec<Arc<Shape>> = Vec::with_capacity(table.shapes.len());
        for names in &table.shapes {
            let names: Vec<Symbol> = names.iter().map(symbol).collect();
            let (shape, is_new) = self.shapes.take(&names);
            if is_new {
                names.iter().for_each(|name| self.symbols.use_again(*name));
            }
            shapes.push(shape);
        }
        let identities = self.identities.clone();
        let mut entry = TableEntry::default();
        while table.next(&mut entry)? {
            let text = |number: &u32| table.texts.get(*number as usize).copied().unwrap_or_default();
            let names = table.shapes.get(entry.shape).map_or(&[][..], Vec::as_slice);
            let identity = identities.of_pairs(names.iter().map(text).zip(entry.values.iter().map(text)));
            let known = self.lookup(identity).map(Arc::clone);
            let series = match (known, shapes.get(entry.shape)) {
                (Some(known), _) => known,
                (None, Some(shape)) => {
                    let values: Box<[Symbol]> = entry.values.iter().map(symbol).collect();
                    values.iter().for_each(|value| self.symbols.use_again(*value));
                    self.insert(identity, Arc::clone(shape), values)?
                }
                (None, None) => continue,
            };
            visit(&series, &entry);
        }
        symbols.iter().for_each(|symbol| self.symbols.give_back(*symbol));
        Ok(())
    }
}
