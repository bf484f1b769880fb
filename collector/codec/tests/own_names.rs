//! The names of the collector's own series, in every form in which a sender can claim them.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

mod shared;

use prost::Message as _;
use tenantscope_codec::{Record, RecordBody, Stamped};
use tenantscope_model::METRIC_NAME;
use tenantscope_wire::BodyForm;

use crate::shared::write::{
    LabelPair, SampleValue, SeriesMetadata, Symbols, TimeSeries, TimeSeries1, WriteRequest1, body, one_sample, snappy,
};
use crate::shared::{acme, gauge, metadata, metric, metrics_body, open, point, resource_metrics, series, stamped, sum};

fn names(stamped: &Stamped) -> Vec<&str> {
    series(stamped).iter().map(|series| series.labels.metric_name()).collect()
}

const CLAIMED: [&str; 4] = ["tenantscope_tenant_info", "ALERTS", "ALERTS_FOR_STATE", "tenantscope_agent_up"];
const STORED: [&str; 4] =
    ["exported_tenantscope_tenant_info", "exported_ALERTS", "exported_ALERTS_FOR_STATE", "tenantscope_agent_up"];

#[test]
fn remote_write_can_write_no_series_of_ours() {
    let pair = |name: &str, value: &str| LabelPair { name: name.into(), value: value.into() };
    let one = |name: &str| {
        // Not in order, which takes another path.
        let labels = vec![pair("tier", "platinum"), pair(METRIC_NAME, name)];
        TimeSeries1 { labels, samples: vec![SampleValue { value: 1.0, timestamp: 5, start_timestamp: 0 }] }
    };
    let request = WriteRequest1 { timeseries: CLAIMED.map(one).to_vec() };
    let first = stamped(&snappy(BodyForm::RemoteWriteV1, &request.encode_to_vec()), &acme());
    assert_eq!((names(&first), first.moved_claims), (STORED.to_vec(), 3));

    let mut symbols = Symbols::new();
    let told = SeriesMetadata { kind: 2, help_ref: symbols.of("Forged."), unit_ref: 0 };
    let two = |name: &str| TimeSeries {
        metadata: Some(told),
        ..one_sample(symbols.refs(&[(METRIC_NAME, name), ("tier", "platinum")]))
    };
    let all = CLAIMED.map(two).to_vec();
    let received = body(symbols, all);
    let second = stamped(&received, &acme());
    assert_eq!((names(&second), second.moved_claims), (STORED.to_vec(), 3));
    assert_eq!(metadata(&second).iter().map(|family| &*family.family).collect::<Vec<_>>(), STORED);

    let decisions = vec![tenantscope_codec::Decision::Stamp(acme())];
    let record = Record::new(0, RecordBody::Received { decisions, body: received });
    let read = Record::from_bytes(record.to_bytes().into()).unwrap();
    let replayed = read.replay(&tenantscope_codec::Accumulators::new(0)).unwrap();
    assert_eq!(names(&replayed), STORED);
}

#[test]
fn otlp_can_write_no_series_of_ours() {
    let metrics = vec![
        metric("tenantscope.tenant.info", "", gauge(vec![point(1, 1.0, &[])])),
        metric("tenantscope_tenant_cost", "", sum(vec![point(1, 1.0, &[]), point(2, 1.0, &[])], 2)),
        metric("ALERTS", "", gauge(vec![point(1, 1.0, &[])])),
        metric("ALERTS_of_mine", "", gauge(vec![point(1, 1.0, &[])])),
    ];
    let expected = [
        "exported_tenantscope_tenant_info",
        "exported_tenantscope_tenant_cost_total",
        "exported_ALERTS",
        "ALERTS_of_mine",
    ];
    for scope in ["", tenantscope_codec::CLOUDWATCH_SCOPE] {
        let mut claimed = metrics.clone();
        if !scope.is_empty() {
            // Whoever says that it is CloudWatch's gives names as they are.
            claimed[0].name = "tenantscope_tenant_info".into();
            claimed[1].name = "tenantscope_tenant_cost_total".into();
        }
        let result = stamped(&metrics_body(vec![resource_metrics(&[], scope, claimed)]), &open("t"));
        assert_eq!((names(&result), result.moved_claims), (expected.to_vec(), 4), "{scope}");
    }
}
