//! What holds for every body that anybody may send.
#![allow(unreachable_pub, reason = "a module of a test program")]

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tenantscope_codec::{
    ACCOUNT_ATTRIBUTE, ACCOUNT_LABEL, Accumulators, Decision, DecodeLimits, Origin, OtlpRequest, REGION_ATTRIBUTE,
    REGION_LABEL, Record, RecordBody, Stamped, TENANT_ATTRIBUTE, TENANT_LABEL, Volume, decode, stamp,
};
use tenantscope_fuzz::peak_bytes;
use tenantscope_model::{AccountId, Region, Signal, Stamp, StampedBatch, StampedSeries, TenantId};
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody};

/// Small, so that what grows out of proportion does so with small inputs.
const LIMITS: DecodeLimits = DecodeLimits { max_decoded_bytes: 8 * 1024 };
/// Four times the above decoded, lists that have just grown, and windows and tables of decompression.
const MAX_DECODE_BYTES: usize = 3 * 4 * LIMITS.max_decoded_bytes + 96 * 1024;
/// What series of so much may take, and lists and maps that have just grown.
const MAX_STAMP_BYTES: usize = 3 * 16 * LIMITS.max_decoded_bytes + 64 * 1024;
/// What is made ready for the series of a remote write, told by its first one.
const EXPECTED_BYTES: usize = 3 << 20;
const RECEIVED_AT_MS: i64 = 1_700_000_000_000;

fn stamp_of(tenant: &str, account: Option<&str>, region: Option<&str>) -> Stamp {
    Stamp {
        tenant: TenantId::try_new(tenant).unwrap(),
        account: account.map(|account| AccountId::try_new(account).unwrap()),
        region: region.map(|region| Region::try_new(region).unwrap()),
    }
}

/// One for each claim: two accounts' and a refusal by turns.
fn proven(claims: usize) -> Vec<Decision> {
    let acme = Decision::Stamp(stamp_of("acme", Some("111122223333"), Some("eu-west-1")));
    let globex = Decision::Stamp(stamp_of("globex", Some("444455556666"), None));
    let by_turns = [acme, globex, Decision::Refuse { reason: "unknown_account" }];
    by_turns.into_iter().cycle().take(claims).collect()
}

/// As in open mode.
fn open(claims: usize) -> Vec<Decision> {
    vec![Decision::Stamp(stamp_of("team", None, None)); claims]
}

pub fn judge(body: &ReceivedBody) {
    let (decoded, bytes) = peak_bytes(|| decode(body, &LIMITS));
    let is_remote_write = matches!(body.form, BodyForm::RemoteWriteV1 | BodyForm::RemoteWriteV2);
    let allowed = MAX_DECODE_BYTES + if is_remote_write { EXPECTED_BYTES } else { 0 };
    assert!(bytes <= allowed, "{bytes} bytes to decode {}", body.bytes.len());
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(error) => return assert!(error.to_string().len() < 1000, "an error says no more than needed: {error}"),
    };
    let claims = decoded.claims().len();
    for decisions in [proven(claims), open(claims)] {
        let origin = Origin { received_at_ms: RECEIVED_AT_MS, ..Origin::default() };
        let (decoded, mut accumulators) = (decoded.clone(), Accumulators::new(8));
        let records = decoded.records();
        let (stamped, bytes) = peak_bytes(|| stamp(decoded, &decisions, origin, &accumulators));
        assert!(bytes <= MAX_STAMP_BYTES, "{bytes} bytes to stamp {}", body.bytes.len());
        check_tenants(&stamped, &decisions);
        check_counts(&stamped, records, body);
        let received = RecordBody::Received { decisions: decisions.clone(), body: body.clone() };
        let record = Record::new(RECEIVED_AT_MS, received);
        let read = Record::from_bytes(record.to_bytes().into()).unwrap();
        let replayed = read.replay(&accumulators).unwrap();
        assert_same(&stamped.batch, &replayed.batch);
        assert_eq!(stamped.rejected.total(), replayed.rejected.total());
        assert_eq!(stamped.moved_claims, replayed.moved_claims);
        check_forwarded(&read, &decisions);
        accumulators.commit(stamped.deltas);
        assert!(accumulators.len() <= 8);
        let kept = Accumulators::from_bytes(accumulators.to_bytes().into(), 8).unwrap();
        assert_eq!(kept.len(), accumulators.len());
    }
}

/// A record that a journal gave back: whatever it says, its tenants are those of its own stamps.
pub fn judge_replay(record: &Record) {
    let RecordBody::Received { decisions, body } = &record.body else {
        record.replay(&Accumulators::new(8)).unwrap();
        return;
    };
    // A replay takes what was accepted under the limits of its day; here a bomb would only take long.
    if decode(body, &LIMITS).is_err() {
        return;
    }
    let (Ok(first), Ok(second)) = (record.replay(&Accumulators::new(8)), record.replay(&Accumulators::new(8))) else {
        panic!("what can be decoded can be replayed")
    };
    check_tenants(&first, decisions);
    assert_same(&first.batch, &second.batch);
    check_forwarded(record, decisions);
}

/// NaN is not equal to itself.
fn assert_same(a: &StampedBatch, b: &StampedBatch) {
    if a != b {
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }
}

fn stamps(decisions: &[Decision]) -> impl Iterator<Item = &Stamp> {
    decisions.iter().filter_map(|decision| match decision {
        Decision::Stamp(stamp) => Some(stamp),
        Decision::Refuse { .. } => None,
    })
}

/// The tenant of every record is the one that was decided, whatever the payload says.
fn check_tenants(stamped: &Stamped, decisions: &[Decision]) {
    match &stamped.batch {
        StampedBatch::Metrics { series, metadata } => {
            series.iter().for_each(|series| check_series(series, decisions));
            let tenants: BTreeSet<&TenantId> = stamps(decisions).map(|stamp| &stamp.tenant).collect();
            assert!(metadata.iter().all(|family| family.tenant.as_ref().is_some_and(|id| tenants.contains(id))));
        }
        StampedBatch::Logs(resources) => {
            // A record of a journal may have more decisions than resources.
            assert!(resources.len() <= decisions.len());
            for (resource, decided) in resources.iter().zip(stamps(decisions)) {
                assert_eq!(&resource.stamp, decided);
                check_resource(resource.records.resource.as_ref(), decided);
            }
        }
        StampedBatch::Spans(resources) => {
            assert!(resources.len() <= decisions.len());
            for (resource, decided) in resources.iter().zip(stamps(decisions)) {
                assert_eq!(&resource.stamp, decided);
                check_resource(resource.records.resource.as_ref(), decided);
            }
        }
    }
}

fn check_series(series: &StampedSeries, decisions: &[Decision]) {
    let labels: Vec<(&str, &str)> = series.labels.iter().map(|label| (&*label.name, &*label.value)).collect();
    assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "labels rise, and none comes twice: {}", series.labels);
    assert!(labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
    let get = |name: &str| series.labels.get(name);
    let decided = stamps(decisions).any(|stamp| {
        let account = stamp.account.map(|account| account.to_string());
        let region_fits = account.is_none() || get(REGION_LABEL) == stamp.region.as_ref().map(Region::as_str);
        get(TENANT_LABEL) == Some(stamp.tenant.as_str()) && get(ACCOUNT_LABEL) == account.as_deref() && region_fits
    });
    assert!(decided, "nobody decided for {}", series.labels);
}

fn check_resource(resource: Option<&Resource>, stamp: &Stamp) {
    let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
    let told = |key: &str| {
        let mut values = attributes.iter().filter(|attribute| attribute.key == key).map(|attribute| {
            match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(Value::StringValue(text)) => text.clone(),
                other => panic!("{key} is {other:?}"),
            }
        });
        let first = values.next();
        assert_eq!(values.next(), None, "{key} stands there twice");
        first
    };
    assert_eq!(told(TENANT_ATTRIBUTE).as_deref(), Some(stamp.tenant.as_str()));
    let account = stamp.account.map(|account| account.to_string());
    assert_eq!(told(ACCOUNT_ATTRIBUTE), account);
    if account.is_some() {
        assert_eq!(told(REGION_ATTRIBUTE).as_deref(), stamp.region.as_ref().map(Region::as_str));
    }
}

/// Everything that came is kept or counted.
fn check_counts(stamped: &Stamped, records: u64, body: &ReceivedBody) {
    let rejected = stamped.rejected.total();
    assert!(rejected <= records, "{rejected} of {records} are left out");
    let of_tenants = Volume::by_tenant(&stamped.batch).into_values();
    let summed = of_tenants.fold(Volume::default(), |mut sum, volume| {
        sum += volume;
        sum
    });
    let volume = Volume::of(&stamped.batch);
    assert_eq!(summed, volume);
    match (body.signal, body.form) {
        (Signal::Logs, _) => assert_eq!(volume.log_records + rejected, records),
        (Signal::Spans, _) => assert_eq!(volume.spans + rejected, records),
        (Signal::Metrics, BodyForm::RemoteWriteV1 | BodyForm::RemoteWriteV2) => {
            assert_eq!(volume.samples + rejected, records);
        }
        // A data point becomes at least one sample.
        (Signal::Metrics, _) => assert!(volume.samples + rejected >= records),
    }
}

/// What goes to other systems says the tenants that were decided, and no others.
fn check_forwarded(record: &Record, decisions: &[Decision]) {
    let request = record.to_otlp().unwrap();
    let bytes = request.to_bytes().into();
    let (signal, form, encoding) = (request.signal(), BodyForm::OtlpProtobuf, Encoding::Identity);
    match &request {
        OtlpRequest::Metrics(request) => {
            let decided = |resource: &Option<Resource>, stamp: &Stamp| {
                let told = tenant_of(resource.as_ref());
                told.as_deref() == Some(stamp.tenant.as_str())
            };
            for told in &request.resource_metrics {
                assert!(stamps(decisions).any(|stamp| decided(&told.resource, stamp)), "nobody decided for {told:?}");
            }
        }
        OtlpRequest::Logs(request) => {
            for (told, stamp) in request.resource_logs.iter().zip(stamps(decisions)) {
                check_resource(told.resource.as_ref(), stamp);
            }
        }
        OtlpRequest::Spans(request) => {
            for (told, stamp) in request.resource_spans.iter().zip(stamps(decisions)) {
                check_resource(told.resource.as_ref(), stamp);
            }
        }
    }
    let roomy = DecodeLimits { max_decoded_bytes: 1 << 24 };
    let read = decode(&ReceivedBody { signal, form, encoding, bytes }, &roomy).unwrap();
    assert_eq!(read.records(), request.records() as u64);
}

fn tenant_of(resource: Option<&Resource>) -> Option<String> {
    let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
    let mut told = attributes.iter().filter(|attribute| attribute.key == TENANT_ATTRIBUTE);
    let (first, second) = (told.next()?, told.next());
    assert!(second.is_none(), "the tenant stands there twice");
    match first.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}
