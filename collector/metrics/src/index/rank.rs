//! The order of series in parts, and the texts of their labels, without the index's lock.

use std::cmp::Ordering;
use std::sync::Arc;

use hashbrown::HashMap;

use super::symbols::Symbol;
use super::texts::Texts;
use crate::series::Series;

/// Label texts as they are now, and a series' place by metric and tenant. Holds for series that stay in the index
/// meanwhile.
#[derive(Debug)]
pub(crate) struct LabelTexts {
    texts: Texts,
    metric: Option<Symbol>,
    tenant: Option<Symbol>,
}

impl LabelTexts {
    pub(crate) fn new(texts: Texts, metric: Option<Symbol>, tenant: Option<Symbol>) -> Self {
        Self { texts, metric, tenant }
    }

    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        self.texts.get(symbol)
    }

    /// Sorts series by metric and tenant, and within these as they were made: what is asked for together lies together.
    pub(crate) fn sort(&self, series: &mut Vec<Arc<Series>>) {
        let value = |series: &Series, name: Option<Symbol>| {
            let name = name?;
            series.labels().find(|(other, _)| *other == name).map(|(_, value)| value)
        };
        let pairs: Vec<(Option<Symbol>, Option<Symbol>)> =
            series.iter().map(|series| (value(series, self.metric), value(series, self.tenant))).collect();
        let (metrics, tenants) = (self.ranks(pairs.iter().map(|pair| pair.0)), self.ranks(pairs.iter().map(|p| p.1)));
        let rank = |ranks: &HashMap<Symbol, u32>, symbol: Option<Symbol>| {
            symbol.and_then(|symbol| ranks.get(&symbol)).map_or(0, |rank| u64::from(*rank))
        };
        let mut keyed: Vec<(u64, Arc<Series>)> = pairs
            .iter()
            .zip(series.drain(..))
            .map(|((metric, tenant), series)| (rank(&metrics, *metric) << 32 | rank(&tenants, *tenant), series))
            .collect();
        keyed.sort_unstable_by_key(|(key, series)| (*key, series.id()));
        series.extend(keyed.into_iter().map(|(_, series)| series));
    }

    /// The place of each of the symbols among them, from 1.
    fn ranks(&self, symbols: impl Iterator<Item = Option<Symbol>>) -> HashMap<Symbol, u32> {
        let mut ranks: HashMap<Symbol, u32> = symbols.flatten().map(|symbol| (symbol, 0)).collect();
        let mut order: Vec<Symbol> = ranks.keys().copied().collect();
        order.sort_unstable_by(|a, b| self.text(*a).cmp(self.text(*b)));
        for (rank, symbol) in (1..).zip(order) {
            ranks.insert(symbol, rank);
        }
        ranks
    }
}

/// Label texts as they are now, and each one's place among them in order. Holds as long.
#[derive(Debug)]
pub(crate) struct LabelRank {
    texts: Texts,
    ranks: Vec<u32>,
}

impl LabelRank {
    pub(crate) fn new(texts: Texts) -> Self {
        let mut order: Vec<Symbol> = (0..texts.len()).collect();
        order.sort_unstable_by(|a, b| texts.get(*a).cmp(texts.get(*b)));
        let mut ranks = vec![0; order.len()];
        for (rank, symbol) in (0..).zip(order) {
            if let Some(slot) = ranks.get_mut(symbol as usize) {
                *slot = rank;
            }
        }
        Self { texts, ranks }
    }

    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        self.texts.get(symbol)
    }

    /// The symbol of a string, if a label has it.
    pub(crate) fn symbol_of(&self, text: &str) -> Option<Symbol> {
        (0..self.texts.len()).find(|symbol| self.texts.get(*symbol) == text)
    }

    /// Where a symbol's string stands among all strings in order.
    pub(crate) fn rank(&self, symbol: Symbol) -> u32 {
        self.ranks.get(symbol as usize).copied().unwrap_or_default()
    }

    /// As comparing the labels' texts.
    pub(crate) fn compare(&self, a: &Series, b: &Series) -> Ordering {
        for (left, right) in a.labels().zip(b.labels()) {
            if left != right {
                let names = self.rank(left.0).cmp(&self.rank(right.0));
                return names.then_with(|| self.rank(left.1).cmp(&self.rank(right.1)));
            }
        }
        a.labels().len().cmp(&b.labels().len())
    }
}
