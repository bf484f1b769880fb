//! The names that series have, once for all series that have the same ones.

use std::sync::Arc;

use hashbrown::HashMap;

use super::symbols::Symbol;

/// Label names in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape(Box<[Symbol]>);

impl Shape {
    pub(crate) fn names(&self) -> &[Symbol] {
        &self.0
    }
}

/// All shapes in use.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    by_names: HashMap<Box<[Symbol]>, Arc<Shape>>,
    bytes: usize,
}

impl Shapes {
    /// The shape of these names; says whether it is new, and so uses its names.
    pub(crate) fn take(&mut self, names: &[Symbol]) -> (Arc<Shape>, bool) {
        if let Some(known) = self.by_names.get(names) {
            return (Arc::clone(known), false);
        }
        let shape = Arc::new(Shape(names.into()));
        self.by_names.insert(names.into(), Arc::clone(&shape));
        self.bytes += bytes_of(names);
        (shape, true)
    }

    /// Takes out the shapes that no series has any more, and returns the names that they used.
    pub(crate) fn purge(&mut self) -> Vec<Symbol> {
        let unused = self.by_names.extract_if(|_, shape| Arc::strong_count(shape) == 1);
        let unused = unused.inspect(|(names, _)| self.bytes -= bytes_of(names));
        unused.flat_map(|(names, _)| names).collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn counted_bytes(&self) -> usize {
        self.by_names.keys().map(|names| bytes_of(names)).sum()
    }
}

fn bytes_of(names: &[Symbol]) -> usize {
    names.len() * 8 + 64
}
