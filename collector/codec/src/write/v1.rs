//! Remote write 1.0: `prometheus.WriteRequest`.

use bytes::Bytes;
use prost::Message;
use tenantscope_model::{Claim, Labels, LabelsBuilder, Metadata};

use super::body::{
    Checked, FamilyEntry, Fault, LabelCheck, NOT_UTF8, Points, SeriesEntry, WriteBody, expected_series, place,
};
use super::claiming::Claims;
use super::cursor::{Fields, Malformed, Value};
use super::fingerprint::{self, Domain};
use super::memory::{EXEMPLAR_BYTES, LABEL_BYTES, Memory, SERIES_BYTES};
use super::text::{Text, pair_of};
use crate::labels::{MAX_LABELS, TOO_MANY_LABELS};
use crate::remote_write::MetricMetadata;
use crate::stamp::Rejected;
use crate::write_metadata::kind_of;
use crate::{DecodeError, footprint};

const FORM: &str = "remote write 1.0";

/// Reads a decompressed body within so many bytes of memory.
pub(crate) fn read(body: &Bytes, max_bytes: usize) -> Result<WriteBody, DecodeError> {
    let mut reader = Reader::new(Memory::new(max_bytes));
    reader.request(body).map_err(|fault| fault.into_error(FORM))?;
    let mut claims = reader.claims.into_distinct();
    if !reader.families.is_empty() {
        let last = u32::try_from(claims.len()).unwrap_or(u32::MAX);
        claims.push(Claim::default());
        reader.families.iter_mut().for_each(|family| family.claim = last);
    }
    Ok(WriteBody {
        text: Text::Messages(body.clone()),
        series: reader.series,
        points: reader.points,
        families: reader.families,
        claims,
        rejected: reader.rejected,
        records: reader.records,
    })
}

struct Reader {
    memory: Memory,
    claims: Claims,
    series: Vec<SeriesEntry>,
    points: Points,
    families: Vec<FamilyEntry>,
    rejected: Rejected,
    records: usize,
    /// A series' labels, where something else stands between them.
    gathered: Vec<u8>,
}

/// Where a series' label messages stand.
#[derive(Default)]
struct LabelMessages {
    start: usize,
    end: usize,
    count: usize,
    is_scattered: bool,
}

impl Reader {
    fn new(memory: Memory) -> Self {
        Self {
            memory,
            claims: Claims::default(),
            series: Vec::new(),
            points: Points::default(),
            families: Vec::new(),
            rejected: Rejected::default(),
            records: 0,
            gathered: Vec::new(),
        }
    }

    fn request(&mut self, body: &[u8]) -> Result<(), Fault> {
        let mut fields = Fields::new(body);
        while let Some(field) = fields.next() {
            match field? {
                (1, Value::Bytes(message)) => {
                    if self.series.capacity() == 0 {
                        let expected = expected_series(body.len(), message.len());
                        self.series.reserve(expected);
                        self.points = Points::expecting(expected);
                    }
                    self.series(message, fields.offset())?;
                }
                (3, Value::Bytes(message)) => self.metadata(message)?,
                (4 | 5, _) => return Err(Fault::Wrong("it has fields of remote write 2.0")),
                (number @ (1 | 3), _) => return Err(Malformed::Type(number).into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn metadata(&mut self, message: &[u8]) -> Result<(), Fault> {
        self.memory.charge(footprint::decoded_bytes(&footprint::METADATA, message, self.memory.left_bytes()))?;
        let message = MetricMetadata::decode(message).map_err(|_| Fault::Wrong("metadata is no such message"))?;
        self.families.push(FamilyEntry {
            family: message.metric_family_name.into(),
            metadata: Metadata { kind: kind_of(message.kind), unit: message.unit.into(), help: message.help.into() },
            claim: 0,
        });
        Ok(())
    }

    /// Reads a series whose message ends at that offset of the body.
    fn series(&mut self, message: &[u8], end: usize) -> Result<(), Fault> {
        let mark = self.points.mark();
        let mut labels = LabelMessages::default();
        let mut wrong_histograms = 0;
        let mut records = 0;
        let mut fields = Fields::new(message);
        loop {
            let start = fields.offset();
            let Some(field) = fields.next() else { break };
            match field? {
                (1, Value::Bytes(_)) => labels.add(start, fields.offset()),
                (2, Value::Bytes(sample)) => {
                    records += 1;
                    self.points.read_sample(sample, &mut self.memory)?;
                }
                (3, Value::Bytes(exemplar)) => self.exemplar(exemplar)?,
                (4, Value::Bytes(histogram)) => {
                    records += 1;
                    wrong_histograms += usize::from(!self.points.read_histogram(histogram, &mut self.memory)?);
                }
                (number @ 1..=4, _) => return Err(Malformed::Type(number).into()),
                _ => {}
            }
        }
        self.records += records;
        let mut gathered = std::mem::take(&mut self.gathered);
        let label_messages = labels.bytes(message, &mut gathered);
        let labels_bytes = labels.count * LABEL_BYTES + label_messages.len();
        let checked = self.check(label_messages, labels.count);
        self.gathered = gathered;
        match checked? {
            Ok((fingerprint, checked)) => {
                self.memory.charge(SERIES_BYTES + labels_bytes)?;
                self.rejected.add("invalid_histogram", wrong_histograms);
                let labels = place(end - message.len()..end);
                self.series.push(self.points.entry(mark, labels, fingerprint, checked));
            }
            Err(reason) => {
                self.points.go_back(mark);
                self.rejected.add(reason, records);
            }
        }
        Ok(())
    }

    /// Checks label messages that stand side by side: their fingerprint and what they tell, or why they won't do.
    fn check(&mut self, labels: &[u8], count: usize) -> Result<Result<(u128, Checked), &'static str>, Fault> {
        if count > MAX_LABELS {
            return Ok(Err(TOO_MANY_LABELS));
        }
        // Keys and lengths below 128 are ASCII as well, so that one look says it of all the texts.
        let is_ascii = labels.is_ascii();
        let mut check = LabelCheck::default();
        for field in Fields::new(labels) {
            let (_, Value::Bytes(label)) = field? else { continue };
            let (name, value) = pair_of(label)?;
            if !is_ascii && (std::str::from_utf8(name).is_err() || std::str::from_utf8(value).is_err()) {
                return Ok(Err(NOT_UTF8));
            }
            if let Err(reason) = check.label(name, value) {
                return Ok(Err(reason));
            }
        }
        let checked = check.finish(&mut self.claims, names_of(labels));
        Ok(checked.map(|checked| (fingerprint::of_bytes(Domain::LabelMessages, labels), checked)))
    }

    fn exemplar(&mut self, message: &[u8]) -> Result<(), Fault> {
        self.memory.charge(EXEMPLAR_BYTES)?;
        let mut labels = LabelsBuilder::default();
        let mut count = 0;
        for field in Fields::new(message) {
            match field? {
                (1, Value::Bytes(label)) => {
                    count += 1;
                    self.memory.charge(LABEL_BYTES + label.len())?;
                    if count <= MAX_LABELS {
                        let (name, value) = pair_of(label)?;
                        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
                        labels.set(text(name), text(value));
                    }
                }
                (1, _) => return Err(Malformed::Type(1).into()),
                _ => {}
            }
        }
        let labels: Labels = if count <= MAX_LABELS { labels.build() } else { return Ok(()) };
        self.points.push_exemplar(message, labels)
    }
}

impl LabelMessages {
    #[inline]
    fn add(&mut self, start: usize, end: usize) {
        if self.count == 0 {
            self.start = start;
        } else if self.end != start {
            self.is_scattered = true;
        }
        self.count += 1;
        self.end = end;
    }

    /// The messages side by side: as they stand, or gathered where something else stands between them.
    fn bytes<'a>(&self, message: &'a [u8], gathered: &'a mut Vec<u8>) -> &'a [u8] {
        if !self.is_scattered {
            return message.get(self.start..self.end).unwrap_or_default();
        }
        gathered.clear();
        let mut fields = Fields::new(message);
        loop {
            let start = fields.offset();
            match fields.next() {
                Some(Ok((1, _))) => gathered.extend(message.get(start..fields.offset()).unwrap_or_default()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return gathered,
            }
        }
    }
}

fn names_of(labels: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields::new(labels).flatten().filter_map(|field| match field {
        (1, Value::Bytes(label)) => pair_of(label).ok().map(|(name, _)| name),
        _ => None,
    })
}
