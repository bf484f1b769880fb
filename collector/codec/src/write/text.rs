//! The text of a remote write's labels, and labels made of it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use tenantscope_model::{LabelSource, Labels, LabelsBuilder, METRIC_NAME};

use super::cursor::{Fields, Malformed, Value};
use crate::claims::{exported_name, is_own_name};
use crate::labels::StampLabels;

/// The names of labels that tell a series' type and unit, and types, by their number in remote write; 0 is unknown.
pub(super) const SCHEMA_WORDS: [&str; 10] =
    ["__type__", "__unit__", "", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
/// The place of the unknown type among them; the others follow in the order of their numbers.
pub(super) const FIRST_TYPE: usize = 2;

/// Where a series' labels stand in a [`Text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Place {
    pub(super) fn of<T>(self, all: &[T]) -> &[T] {
        all.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A body's text. What is read from it was checked before: names and values are UTF-8, references lead somewhere.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    /// Remote write 1.0: a place is a series' whole message.
    Messages(Bytes),
    /// Remote write 2.0: a place is a stretch of references, names and values in turn. What leads past the symbols leads
    /// to a [`SCHEMA_WORDS`].
    Symbols {
        body: Bytes,
        /// Where each symbol stands in the body.
        symbols: Vec<Place>,
        refs: Vec<u32>,
    },
}

impl Text {
    /// Names and values in the order in which they came.
    pub(crate) fn pairs(&self, place: Place) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        match self {
            Self::Messages(body) => {
                let labels = Fields::new(place.of(body)).flatten().filter_map(|field| match field {
                    (1, Value::Bytes(label)) => pair_of(label).ok(),
                    _ => None,
                });
                labels.map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value))).collect()
            }
            Self::Symbols { body, symbols, refs } => {
                let text = |reference: u32| match symbols.get(reference as usize) {
                    Some(symbol) => String::from_utf8_lossy(symbol.of(body)),
                    None => {
                        let word = SCHEMA_WORDS.get((reference as usize).saturating_sub(symbols.len()));
                        Cow::Borrowed(word.copied().unwrap_or_default())
                    }
                };
                let (pairs, _) = place.of(refs).as_chunks::<2>();
                pairs.iter().map(|[name, value]| (text(*name), text(*value))).collect()
            }
        }
    }
}

/// Name and value of a label message of remote write 1.0.
#[inline]
pub(super) fn pair_of(label: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::new(label) {
        match field? {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            (number @ (1 | 2), _) => return Err(Malformed::Type(number)),
            _ => {}
        }
    }
    Ok((name, value))
}

/// A body's text with the stamps that were decided on.
#[derive(Debug)]
pub(crate) struct StampedText {
    pub(crate) text: Text,
    /// By series: where its labels stand, and which stamp is its.
    pub(crate) places: Vec<(Place, u32)>,
    pub(crate) stamps: Vec<Option<Arc<StampLabels>>>,
}

impl LabelSource for StampedText {
    fn labels(&self, number: u32) -> Labels {
        let Some((place, stamp)) = self.places.get(number as usize) else { return Labels::default() };
        let mut labels = LabelsBuilder::default();
        for (name, value) in self.text.pairs(*place) {
            match name == METRIC_NAME && is_own_name(value.as_bytes()) {
                true => labels.set(name, exported_name(&value)),
                false => labels.set(name, value),
            };
        }
        if let Some(Some(stamp)) = self.stamps.get(*stamp as usize) {
            stamp.apply(&mut labels);
        }
        labels.build()
    }
}
