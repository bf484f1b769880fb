//! A metric's datapoint of one period, with all its statistics.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};

use super::Source;

/// One line of a metric stream in JSON.
#[derive(Debug, Deserialize)]
pub(super) struct Datum {
    #[serde(default)]
    account_id: String,
    #[serde(default)]
    region: String,
    pub(super) namespace: String,
    pub(super) metric_name: String,
    #[serde(default)]
    pub(super) dimensions: Pairs<String>,
    /// The period's beginning, in milliseconds since the epoch.
    pub(super) timestamp: i64,
    pub(super) value: Pairs<f64>,
}

impl Datum {
    pub(super) fn source(&self) -> Source {
        Source { account: self.account_id.clone(), region: self.region.clone() }
    }
}

/// The names of statistics, as they are asked for, by what a metric stream calls them.
const STATISTICS: [(&str, &str); 4] =
    [("max", "Maximum"), ("min", "Minimum"), ("sum", "Sum"), ("count", "SampleCount")];

/// Each statistic by the name by which one asks for it, and the average, which streams leave to their readers.
pub(super) fn statistics(values: &[(String, f64)]) -> Vec<(&str, f64)> {
    let named = |key: &str| STATISTICS.iter().find(|(known, _)| *known == key).map(|(_, statistic)| *statistic);
    let mut statistics: Vec<(&str, f64)> =
        values.iter().map(|(key, value)| (named(key).unwrap_or(key), *value)).collect();
    let of = |wanted: &str| statistics.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    if let (Some(sum), Some(count)) = (of("Sum"), of("SampleCount"))
        && count > 0.0
        && of("Average").is_none()
    {
        statistics.push(("Average", sum / count));
    }
    statistics
}

/// An object's keys and values in their order; of a key that comes twice the last counts.
#[derive(Debug)]
pub(super) struct Pairs<T>(pub(super) Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs: Vec<(String, T)> = Vec::new();
                while let Some((key, value)) = map.next_entry()? {
                    pairs.retain(|(known, _)| *known != key);
                    if pairs.len() == MAX_PAIRS {
                        return Err(de::Error::custom(format!("it has over {MAX_PAIRS} members")));
                    }
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor(std::marker::PhantomData))
    }
}

/// CloudWatch has 30 dimensions and 24 statistics at the most.
const MAX_PAIRS: usize = 64;
