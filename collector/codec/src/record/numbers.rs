//! The numbers that stand for signals, forms and encodings in a record, as FORMAT.md has them.

use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding};

use super::RecordError;

pub(super) fn signal_number(signal: Signal) -> u32 {
    match signal {
        Signal::Metrics => 1,
        Signal::Logs => 2,
        Signal::Spans => 3,
    }
}

pub(super) fn signal_of(number: u32) -> Result<Signal, RecordError> {
    let known = Signal::ALL.into_iter().find(|signal| signal_number(*signal) == number);
    known.ok_or_else(|| RecordError::Damaged(format!("there is no signal {number}")))
}

const FORMS: [(BodyForm, u32); 7] = [
    (BodyForm::OtlpProtobuf, 1),
    (BodyForm::OtlpJson, 2),
    (BodyForm::RemoteWriteV1, 3),
    (BodyForm::RemoteWriteV2, 4),
    (BodyForm::LokiProtobuf, 5),
    (BodyForm::LokiJson, 6),
    (BodyForm::Firehose, 7),
];

pub(super) fn form_number(form: BodyForm) -> u32 {
    FORMS.into_iter().find(|(known, _)| *known == form).map_or(0, |(_, number)| number)
}

pub(super) fn form_of(number: u32) -> Result<BodyForm, RecordError> {
    let known = FORMS.into_iter().find(|(_, known)| *known == number).map(|(form, _)| form);
    known.ok_or_else(|| RecordError::Damaged(format!("there is no form {number}")))
}

const ENCODINGS: [(Encoding, u32); 4] =
    [(Encoding::Identity, 0), (Encoding::Gzip, 1), (Encoding::Zstd, 2), (Encoding::Snappy, 3)];

pub(super) fn encoding_number(encoding: Encoding) -> u32 {
    ENCODINGS.into_iter().find(|(known, _)| *known == encoding).map_or(0, |(_, number)| number)
}

pub(super) fn encoding_of(number: u32) -> Result<Encoding, RecordError> {
    let known = ENCODINGS.into_iter().find(|(_, known)| *known == number).map(|(encoding, _)| encoding);
    known.ok_or_else(|| RecordError::Damaged(format!("there is no encoding {number}")))
}
