//! The order of series by labels, from symbols alone.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::series::Series;

/// Strings by symbol, and each symbol's rank among them. Holds for series that stay in the index meanwhile.
#[derive(Debug)]
pub(crate) struct LabelRank {
    texts: Vec<Option<Arc<str>>>,
    ranks: Vec<u32>,
}

impl LabelRank {
    pub(crate) fn new(texts: Vec<Option<Arc<str>>>) -> Self {
        let mut order: Vec<u32> = (0..texts.len() as u32).collect();
        let text = |symbol: u32| texts.get(symbol as usize).and_then(Option::as_deref);
        order.sort_unstable_by(|a, b| text(*a).cmp(&text(*b)));
        let mut ranks = vec![0; texts.len()];
        for (rank, symbol) in (0..).zip(order) {
            if let Some(slot) = ranks.get_mut(symbol as usize) {
                *slot = rank;
            }
        }
        Self { texts, ranks }
    }

    /// The symbol of a string, if a label has it.
    pub(crate) fn symbol_of(&self, text: &str) -> Option<u32> {
        let at = self.texts.iter().position(|other| other.as_deref() == Some(text))?;
        u32::try_from(at).ok()
    }

    /// Where a symbol's string stands among all strings in order.
    pub(crate) fn rank(&self, symbol: u32) -> u32 {
        self.ranks.get(symbol as usize).copied().unwrap_or_default()
    }

    /// As comparing the labels' texts.
    pub(crate) fn compare(&self, a: &Series, b: &Series) -> Ordering {
        for (left, right) in a.labels().iter().zip(b.labels()) {
            if left != right {
                let names = self.rank(left.0).cmp(&self.rank(right.0));
                return names.then_with(|| self.rank(left.1).cmp(&self.rank(right.1)));
            }
        }
        a.labels().len().cmp(&b.labels().len())
    }

    pub(crate) fn text(&self, symbol: u32) -> &str {
        self.texts.get(symbol as usize).and_then(Option::as_deref).unwrap_or_default()
    }
}
