//! What the use of this collector costs, by prices of the configuration.

use serde::{Deserialize, Serialize};

/// `cost:`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostConfig {
    /// What the prices are in.
    pub currency: String,
    /// What costs what.
    pub prices: Prices,
}

impl Default for CostConfig {
    fn default() -> Self {
        Self { currency: "USD".to_owned(), prices: Prices::default() }
    }
}

/// Prices; what has none costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// Bodies as they are received.
    pub received_per_gib: f64,
    /// Samples.
    pub samples_per_million: f64,
    /// A thousand series that are active for a day.
    pub active_series_per_thousand_days: f64,
    /// Log records, as OTLP has them.
    pub logs_per_gib: f64,
    /// Spans.
    pub spans_per_million: f64,
    /// Queries of readers of the tenant alone.
    pub queries_per_thousand: f64,
    /// Data in files.
    pub storage_per_gib: f64,
}

impl Prices {
    /// Each with its key.
    pub fn each(&self) -> [(&'static str, f64); 7] {
        let Self {
            received_per_gib,
            samples_per_million,
            active_series_per_thousand_days,
            logs_per_gib,
            spans_per_million,
            queries_per_thousand,
            storage_per_gib,
        } = *self;
        [
            ("received_per_gib", received_per_gib),
            ("samples_per_million", samples_per_million),
            ("active_series_per_thousand_days", active_series_per_thousand_days),
            ("logs_per_gib", logs_per_gib),
            ("spans_per_million", spans_per_million),
            ("queries_per_thousand", queries_per_thousand),
            ("storage_per_gib", storage_per_gib),
        ]
    }
}

/// What something costs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostKind {
    /// Bytes as they were received.
    Received,
    /// Samples.
    Samples,
    /// Active series, in series times days.
    ActiveSeries,
    /// Bytes of log records.
    Logs,
    /// Spans.
    Spans,
    /// Queries.
    Queries,
    /// Bytes in files.
    Storage,
}

impl CostKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Received, Self::Samples, Self::ActiveSeries, Self::Logs, Self::Spans, Self::Queries, Self::Storage];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Samples => "samples",
            Self::ActiveSeries => "active_series",
            Self::Logs => "logs",
            Self::Spans => "spans",
            Self::Queries => "queries",
            Self::Storage => "storage",
        }
    }
}

const GIB: f64 = (1u64 << 30) as f64;

impl CostConfig {
    /// What so much costs.
    pub fn cost(&self, kind: CostKind, amount: f64) -> f64 {
        let prices = &self.prices;
        match kind {
            CostKind::Received => amount / GIB * prices.received_per_gib,
            CostKind::Samples => amount / 1e6 * prices.samples_per_million,
            CostKind::ActiveSeries => amount / 1e3 * prices.active_series_per_thousand_days,
            CostKind::Logs => amount / GIB * prices.logs_per_gib,
            CostKind::Spans => amount / 1e6 * prices.spans_per_million,
            CostKind::Queries => amount / 1e3 * prices.queries_per_thousand,
            CostKind::Storage => amount / GIB * prices.storage_per_gib,
        }
    }

    /// Says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.prices.each().iter().any(|(_, price)| !price.is_finite() || *price < 0.0) {
            return Err("cost.prices: a price is a number from 0 on".to_owned());
        }
        let is_word = self.currency.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_word || self.currency.is_empty() || self.currency.len() > 16 {
            return Err("cost.currency: a word such as USD".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_for_its_unit() {
        let config: CostConfig =
            serde_saphyr::from_str("{currency: EUR, prices: {logs_per_gib: 0.5, samples_per_million: 2}}").unwrap();
        assert_eq!(config.cost(CostKind::Logs, GIB * 3.0), 1.5);
        assert_eq!(config.cost(CostKind::Samples, 500_000.0), 1.0);
        assert_eq!(config.cost(CostKind::Spans, 500_000.0), 0.0);
        assert!(config.check().is_ok());
        let negative: CostConfig = serde_saphyr::from_str("{prices: {logs_per_gib: -1}}").unwrap();
        assert!(negative.check().is_err());
        assert!(serde_saphyr::from_str::<CostConfig>("{prices: {logs: 1}}").is_err());
    }
}
