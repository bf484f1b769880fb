//! What a remote write costs from the received body to the stamped batch: CPU microseconds per sample.
//!
//! `cargo run --release -p tenantscope-codec --example write_cost [SERIES]` decodes and stamps bodies of 2,000 series
//! with one sample each, over and over, as a fleet of that many series (default 200,000) sends them.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Instant;

use tenantscope_codec::{Accumulators, Decision, DecodeLimits, Origin, decode, stamp};
use tenantscope_model::{Signal, Stamp, StampedBatch, TenantId};
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody};

const SERIES_OF_BODY: usize = 2_000;
const ROUNDS: usize = 10;

/// Appends a field with a length.
fn field(out: &mut Vec<u8>, number: u8, payload: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Labels as a service on Kubernetes has them.
fn labels(number: usize) -> Vec<(String, String)> {
    let pod = number / 40;
    [
        ("__name__", format!("http_server_request_duration_seconds_{}", number % 40)),
        ("cluster", "eu-central-prod-1".to_owned()),
        ("container", "api".to_owned()),
        ("endpoint", "metrics".to_owned()),
        ("instance", format!("10.{}.{}.{}:8080", pod >> 16 & 255, pod >> 8 & 255, pod & 255)),
        ("job", format!("service-{}", pod % 200)),
        ("method", ["GET", "POST", "PUT", "DELETE"][number % 4].to_owned()),
        ("namespace", format!("team-{}", pod % 50)),
        ("pod", format!("service-{}-7d9f8b6c5-{pod:05x}", pod % 200)),
        ("route", format!("/api/v1/items/{}", number % 20)),
        ("service", format!("service-{}", pod % 200)),
        ("status", ["200", "404", "500"][number % 3].to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn body(first: usize, t_ms: u64) -> ReceivedBody {
    let mut request = Vec::new();
    for number in first..first + SERIES_OF_BODY {
        let mut series = Vec::new();
        for (name, value) in labels(number) {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut series, 1, &label);
        }
        let mut sample = vec![0x09];
        sample.extend_from_slice(&((number as f64) + (t_ms as f64) / 1000.0).to_le_bytes());
        sample.push(0x10);
        varint(&mut sample, t_ms);
        field(&mut series, 2, &sample);
        field(&mut request, 1, &series);
    }
    let bytes = snap::raw::Encoder::new().compress_vec(&request).unwrap().into();
    ReceivedBody { signal: Signal::Metrics, form: BodyForm::RemoteWriteV1, encoding: Encoding::Snappy, bytes }
}

fn main() {
    let series: usize = std::env::args().nth(1).map_or(200_000, |text| text.parse().unwrap());
    let tenant = Stamp { tenant: TenantId::try_new("anonymous").unwrap(), account: None, region: None };
    let bodies: Vec<_> = (0..series).step_by(SERIES_OF_BODY).map(|first| body(first, 1_790_000_000_000)).collect();
    let bytes: usize = bodies.iter().map(|body| body.bytes.len()).sum();
    println!("{} bodies, {} compressed bytes per sample", bodies.len(), bytes / series);
    let (mut decoding, mut stamping, mut dropping) = (0.0, 0.0, 0.0);
    let mut samples = 0usize;
    for _ in 0..ROUNDS {
        for body in &bodies {
            let started = Instant::now();
            let decoded = decode(body, &DecodeLimits::default()).unwrap();
            decoding += started.elapsed().as_secs_f64();
            let started = Instant::now();
            let decisions = vec![Decision::Stamp(tenant.clone()); decoded.claims().len()];
            let stamped = stamp(decoded, &decisions, Origin::default(), &Accumulators::new(0));
            stamping += started.elapsed().as_secs_f64();
            if let StampedBatch::Metrics { series, .. } = &stamped.batch {
                samples += series.len();
            }
            let started = Instant::now();
            drop(stamped);
            dropping += started.elapsed().as_secs_f64();
        }
    }
    let each = |seconds: f64| seconds / samples as f64 * 1e6;
    println!(
        "{samples} samples: decode {:.3} µs, stamp {:.3} µs, drop {:.3} µs, together {:.3} µs a sample",
        each(decoding),
        each(stamping),
        each(dropping),
        each(decoding + stamping + dropping)
    );
}
