//! What readers ask of labels once they have series.

use std::sync::Arc;

use tenantscope_model::{Label, Labels};

use super::Index;
use super::symbols::Symbol;

impl Index {
    /// As long as a reader holds this, the symbols of the series that it found stand for the same strings.
    pub(crate) fn pin(&self) -> Arc<()> {
        self.symbols.pin()
    }

    /// A label's name or value.
    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        self.symbols.text(symbol)
    }

    /// Labels as text, given by the symbols of their names and values in the order of names.
    pub(crate) fn labels(&self, symbols: impl Iterator<Item = (Symbol, Symbol)>) -> Labels {
        let label = |(name, value)| Label { name: self.symbols.shared(name), value: self.symbols.shared(value) };
        // They are of a series, which was made of valid labels, so this never falls back.
        Labels::try_new(symbols.map(label).collect()).unwrap_or_default()
    }
}
