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
pub(crate) struct Shapes(HashMap<Box<[Symbol]>, Arc<Shape>>);

impl Shapes {
    /// The shape of these names; says whether it is new, and so uses its names.
    pub(crate) fn take(&mut self, names: &[Symbol]) -> (Arc<Shape>, bool) {
        if let Some(known) = self.0.get(names) {
            return (Arc::clone(known), false);
        }
        let shape = Arc::new(Shape(names.into()));
        self.0.insert(names.into(), Arc::clone(&shape));
        (shape, true)
    }

    /// Takes out the shapes that no series has any more, and returns the names that they used.
    pub(crate) fn purge(&mut self) -> Vec<Symbol> {
        let unused = self.0.extract_if(|_, shape| Arc::strong_count(shape) == 1);
        unused.flat_map(|(names, _)| names).collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.keys().map(|names| names.len() * 8 + 64).sum()
    }
}
