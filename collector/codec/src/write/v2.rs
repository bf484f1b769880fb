//! Remote write 2.0: `io.prometheus.write.v2.Request`.

use std::collections::HashSet;

use bytes::Bytes;
use tenantscope_model::{Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricKind};

use super::body::{
    Checked, FamilyEntry, Fault, LabelCheck, NOT_UTF8, Points, SeriesEntry, WriteBody, expected_series, place,
};
use super::claiming::Claims;
use super::cursor::{Fields, Malformed, Value, varint};
use super::fingerprint::{self, Domain};
use super::memory::{EXEMPLAR_BYTES, LABEL_BYTES, Memory, PLACE_BYTES, SERIES_BYTES, SYMBOL_BYTES};
use super::text::{FIRST_TYPE, Place, SCHEMA_WORDS, Text};
use crate::DecodeError;
use crate::labels::{MAX_LABELS, TOO_MANY_LABELS};
use crate::stamp::Rejected;
use crate::write_metadata::kind_of;

const FORM: &str = "remote write 2.0";
/// Why a series whose references lead nowhere is left out.
const OUT_OF_RANGE: &str = "symbol_out_of_range";

/// Reads a decompressed body within so many bytes of memory.
pub(crate) fn read(body: &Bytes, max_bytes: usize) -> Result<WriteBody, DecodeError> {
    let mut memory = Memory::new(max_bytes);
    let parts = Parts::of(body, &mut memory).map_err(|fault| fault.into_error(FORM))?;
    let mut reader = Reader::new(&parts.symbols, expected_series(parts.series.len(), 1), memory);
    for series in &parts.series {
        reader.series(series.of(body)).map_err(|fault| fault.into_error(FORM))?;
    }
    let symbols = parts.symbols.iter().map(|symbol| symbol.place).collect();
    Ok(WriteBody {
        text: Text::Symbols { body: body.clone(), symbols, refs: reader.refs },
        series: reader.series,
        points: reader.points,
        families: reader.families,
        claims: reader.claims.into_distinct(),
        rejected: reader.rejected,
        records: reader.records,
    })
}

/// Symbols may come before or after what refers to them.
struct Parts<'a> {
    symbols: Vec<Symbol<'a>>,
    series: Vec<Place>,
}

struct Symbol<'a> {
    place: Place,
    text: &'a [u8],
    is_utf8: bool,
    fingerprint: u128,
}

impl<'a> Parts<'a> {
    fn of(body: &'a [u8], memory: &mut Memory) -> Result<Self, Fault> {
        let mut parts = Self { symbols: Vec::new(), series: Vec::new() };
        let mut fields = Fields::new(body);
        while let Some(field) = fields.next() {
            match field? {
                (4, Value::Bytes(text)) => {
                    memory.charge(SYMBOL_BYTES)?;
                    let is_utf8 = std::str::from_utf8(text).is_ok();
                    let fingerprint = fingerprint::of_bytes(Domain::Symbol, text);
                    let place = place(fields.offset() - text.len()..fields.offset());
                    parts.symbols.push(Symbol { place, text, is_utf8, fingerprint });
                }
                (5, Value::Bytes(message)) => {
                    memory.charge(PLACE_BYTES)?;
                    parts.series.push(place(fields.offset() - message.len()..fields.offset()));
                }
                (1..=3, _) => return Err(Fault::Wrong("it has fields of remote write 1.0")),
                (number @ (4 | 5), _) => return Err(Malformed::Type(number).into()),
                _ => {}
            }
        }
        Ok(parts)
    }
}

struct Reader<'a> {
    symbols: &'a [Symbol<'a>],
    memory: Memory,
    claims: Claims,
    series: Vec<SeriesEntry>,
    refs: Vec<u32>,
    points: Points,
    families: Vec<FamilyEntry>,
    /// Fingerprints of [`SCHEMA_WORDS`], as if they were symbols.
    words: [u128; SCHEMA_WORDS.len()],
    /// Metric name's symbol, what was said, and whose it was: what came already.
    said: HashSet<(u32, SeriesMetadata, u32)>,
    rejected: Rejected,
    records: usize,
}

/// A series' word on its family: its kind's number, and two symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct SeriesMetadata {
    kind: u32,
    help: u32,
    unit: u32,
}

impl<'a> Reader<'a> {
    fn new(symbols: &'a [Symbol<'a>], expected: usize, memory: Memory) -> Self {
        Self {
            symbols,
            memory,
            claims: Claims::default(),
            series: Vec::with_capacity(expected),
            refs: Vec::new(),
            points: Points::expecting(expected),
            families: Vec::new(),
            words: SCHEMA_WORDS.map(|word| fingerprint::of_bytes(Domain::Symbol, word.as_bytes())),
            said: HashSet::new(),
            rejected: Rejected::default(),
            records: 0,
        }
    }

    fn series(&mut self, message: &[u8]) -> Result<(), Fault> {
        let mark = self.points.mark();
        let first_ref = self.refs.len();
        let mut metadata = SeriesMetadata::default();
        let (mut records, mut wrong_histograms, mut wrong_exemplars) = (0, 0, 0);
        for field in Fields::new(message) {
            match field? {
                (1, value) => read_refs(value, &mut self.refs, &mut self.memory)?,
                (2, Value::Bytes(sample)) => {
                    records += 1;
                    self.points.read_sample(sample, &mut self.memory)?;
                }
                (3, Value::Bytes(histogram)) => {
                    records += 1;
                    wrong_histograms += usize::from(!self.points.read_histogram(histogram, &mut self.memory)?);
                }
                (4, Value::Bytes(exemplar)) => wrong_exemplars += usize::from(!self.exemplar(exemplar)?),
                (5, Value::Bytes(message)) => metadata = SeriesMetadata::read(message)?,
                (number @ 2..=5, _) => return Err(Malformed::Type(number).into()),
                _ => {}
            }
        }
        // A series of nothing, and an exemplar, count as one record where they are refused: a sender counts them so.
        self.records += records.max(1) + wrong_exemplars;
        let refs = place(first_ref..self.refs.len());
        let checked = self.check(refs).and_then(|found| match metadata.is_within(self.symbols) {
            true if records == 0 => Err("no_samples"),
            true => Ok(found),
            false => Err(OUT_OF_RANGE),
        });
        match checked {
            Ok((checked, name)) => {
                self.set_type_and_unit(first_ref, metadata)?;
                let refs = place(first_ref..self.refs.len());
                // A symbol is one text here, but one for each series that refers to it once labels are made.
                let texts_bytes: usize =
                    refs.of(&self.refs).iter().map(|symbol| text_of(self.symbols, *symbol).len()).sum();
                let fingerprint = self.fingerprint(refs.of(&self.refs));
                self.memory.charge(SERIES_BYTES + refs.of(&self.refs).len() / 2 * LABEL_BYTES + texts_bytes)?;
                self.rejected.add("invalid_histogram", wrong_histograms);
                self.rejected.add("invalid_exemplar", wrong_exemplars);
                self.series.push(self.points.entry(mark, refs, fingerprint, checked));
                self.metadata(name, metadata, checked.claim)?;
            }
            Err(reason) => {
                self.points.go_back(mark);
                self.refs.truncate(first_ref);
                self.rejected.add(reason, records.max(1));
                self.rejected.add("invalid_exemplar", wrong_exemplars);
            }
        }
        Ok(())
    }

    /// Puts what a series says of its type and unit into its labels, in the place of what its sender may have put there.
    fn set_type_and_unit(&mut self, first_ref: usize, metadata: SeriesMetadata) -> Result<(), Fault> {
        let kind = metadata.kind as usize + FIRST_TYPE;
        let has_type = kind > FIRST_TYPE && kind < SCHEMA_WORDS.len();
        let unit = self.symbols.get(metadata.unit as usize);
        let has_unit = unit.is_some_and(|unit| unit.is_utf8 && !unit.text.is_empty());
        if !has_type && !has_unit {
            return Ok(());
        }
        self.memory.charge(4 * PLACE_BYTES)?;
        let sent = self.refs.split_off(first_ref);
        let is_schema = |name: u32| matches!(text_of(self.symbols, name), b"__type__" | b"__unit__");
        let (pairs, _) = sent.as_chunks::<2>();
        self.refs.extend(pairs.iter().filter(|[name, _]| !is_schema(*name)).flatten());
        let word = |place: usize| u32::try_from(self.symbols.len() + place).unwrap_or(u32::MAX);
        if has_type {
            self.refs.extend([word(0), word(kind)]);
        }
        if has_unit {
            self.refs.extend([word(1), metadata.unit]);
        }
        Ok(())
    }

    fn fingerprint(&self, refs: &[u32]) -> u128 {
        let part = |reference: &u32| match self.symbols.get(*reference as usize) {
            Some(symbol) => Some(symbol.fingerprint),
            None => self.words.get((*reference as usize).saturating_sub(self.symbols.len())).copied(),
        };
        fingerprint::of_all(Domain::SymbolRefs, refs.iter().filter_map(part))
    }

    /// What the labels tell and the symbol of the metric name, or why they won't do.
    fn check(&mut self, refs: Place) -> Result<(Checked, u32), &'static str> {
        let symbols = self.symbols;
        let refs = refs.of(&self.refs);
        let pairs = pairs_of(refs)?;
        if pairs.len() > MAX_LABELS {
            return Err(TOO_MANY_LABELS);
        }
        let symbol = |reference: u32| symbols.get(reference as usize).ok_or(OUT_OF_RANGE);
        let mut check = LabelCheck::default();
        let mut metric_name = 0;
        for [name_ref, value_ref] in pairs {
            let (name, value) = (symbol(*name_ref)?, symbol(*value_ref)?);
            if !(name.is_utf8 && value.is_utf8) {
                return Err(NOT_UTF8);
            }
            if name.text == METRIC_NAME.as_bytes() {
                metric_name = *value_ref;
            }
            check.label(name.text, value.text)?;
        }
        let names = pairs.iter().filter_map(|[name, _]| symbols.get(*name as usize)).map(|symbol| symbol.text);
        let checked = check.finish(&mut self.claims, names)?;
        Ok((checked, metric_name))
    }

    /// False where its labels won't do.
    fn exemplar(&mut self, message: &[u8]) -> Result<bool, Fault> {
        self.memory.charge(EXEMPLAR_BYTES)?;
        let mut refs = Vec::new();
        for field in Fields::new(message) {
            if let (1, value) = field? {
                read_refs(value, &mut refs, &mut self.memory)?;
            }
        }
        let Some(labels) = self.exemplar_labels(&refs) else { return Ok(false) };
        let text_bytes: usize = labels.iter().map(|label| label.name.len() + label.value.len()).sum();
        self.memory.charge(LABEL_BYTES * labels.len() + text_bytes)?;
        self.points.push_exemplar(message, labels)?;
        Ok(true)
    }

    fn exemplar_labels(&self, refs: &[u32]) -> Option<Labels> {
        let pairs = pairs_of(refs).ok().filter(|pairs| pairs.len() <= MAX_LABELS)?;
        let text = |reference: u32| std::str::from_utf8(self.symbols.get(reference as usize)?.text).ok();
        let mut labels = LabelsBuilder::default();
        for [name, value] in pairs {
            labels.set(text(*name).filter(|name| !name.is_empty())?, text(*value)?);
        }
        Some(labels.build())
    }

    /// Takes note of what a series says of its family, once for all series that say it.
    fn metadata(&mut self, name: u32, metadata: SeriesMetadata, claim: u32) -> Result<(), Fault> {
        let symbols = self.symbols;
        let text = |symbol: u32| std::str::from_utf8(text_of(symbols, symbol)).unwrap_or_default();
        let (help, unit) = (text(metadata.help), text(metadata.unit));
        let says_nothing = metadata.kind == 0 && help.is_empty() && unit.is_empty();
        if says_nothing || self.said.contains(&(name, metadata, claim)) {
            return Ok(());
        }
        self.memory.charge(LABEL_BYTES + text(name).len() + help.len() + unit.len())?;
        self.said.insert((name, metadata, claim));
        let kind = kind_of(i32::try_from(metadata.kind).unwrap_or(0));
        let family = family_name(text(name), kind).into();
        let metadata = Metadata { kind, unit: unit.into(), help: help.into() };
        let entry = FamilyEntry { family, metadata, claim };
        if !self.families.iter().rev().take(8).any(|known| *known == entry) {
            self.families.push(entry);
        }
        Ok(())
    }
}

/// A symbol's text; empty where there is no such symbol.
fn text_of<'a>(symbols: &[Symbol<'a>], symbol: u32) -> &'a [u8] {
    symbols.get(symbol as usize).map(|symbol| symbol.text).unwrap_or_default()
}

/// The name of the family that a series of that name belongs to.
fn family_name(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram => &["_bucket", "_sum", "_count"],
        MetricKind::GaugeHistogram => &["_bucket", "_gsum", "_gcount", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count"],
        MetricKind::Counter | MetricKind::Gauge | MetricKind::Info | MetricKind::StateSet | MetricKind::Unknown => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).filter(|family| !family.is_empty()).unwrap_or(name)
}

/// Names and values in turn.
fn pairs_of(refs: &[u32]) -> Result<&[[u32; 2]], &'static str> {
    match refs.as_chunks::<2>() {
        (pairs, []) => Ok(pairs),
        _ => Err("odd_label_refs"),
    }
}

/// Packed, as senders write them, or one by one, as a decoder must take them too.
fn read_refs(value: Value<'_>, refs: &mut Vec<u32>, memory: &mut Memory) -> Result<(), Fault> {
    // A number too large for any table leads nowhere, as this one does.
    let reference = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    match value {
        Value::Varint(number) => {
            memory.charge(PLACE_BYTES)?;
            refs.push(reference(number));
        }
        Value::Bytes(mut packed) => {
            memory.charge(PLACE_BYTES * packed.len())?;
            while !packed.is_empty() {
                refs.push(reference(varint(&mut packed)?));
            }
        }
        Value::Fixed64(_) | Value::Fixed32 => return Err(Malformed::Type(1).into()),
    }
    Ok(())
}

impl SeriesMetadata {
    fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut metadata = Self::default();
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        for field in Fields::new(message) {
            match field? {
                (1, Value::Varint(value)) => metadata.kind = number(value),
                (3, Value::Varint(value)) => metadata.help = number(value),
                (4, Value::Varint(value)) => metadata.unit = number(value),
                (field @ (1 | 3 | 4), _) => return Err(Malformed::Type(field)),
                _ => {}
            }
        }
        Ok(metadata)
    }

    /// Nothing said needs no symbol.
    fn is_within(self, symbols: &[Symbol<'_>]) -> bool {
        let is_within = |reference: u32| reference == 0 || (reference as usize) < symbols.len();
        is_within(self.help) && is_within(self.unit)
    }
}
