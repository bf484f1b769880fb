//! The exporter of our own spans, which says when they are not taken, and counts them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prometheus::{IntCounterVec, register_int_counter_vec};

static SPANS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let help = "The collector's own spans, by outcome: exported or lost.";
    register_int_counter_vec!("tenantscope_server_spans_total", help, &["outcome"]).ok()
});

/// Exports; the first failure after a success is logged, and the first success after a failure.
#[derive(Debug)]
pub(crate) struct CountedExporter {
    inner: OtlpExporter,
    failing: AtomicBool,
}

impl CountedExporter {
    pub(crate) fn new(inner: OtlpExporter) -> Self {
        Self { inner, failing: AtomicBool::new(false) }
    }

    fn count(&self, spans: usize, exported: &OTelSdkResult) {
        if let Some(counter) = &*SPANS {
            let outcome = if exported.is_ok() { "exported" } else { "lost" };
            counter.with_label_values(&[outcome]).inc_by(spans as u64);
        }
        let failed_before = self.failing.swap(exported.is_err(), Ordering::Relaxed);
        match exported {
            Err(error) if !failed_before => tracing::warn!(%error, spans, "our own traces are not taken"),
            Ok(()) if failed_before => tracing::info!("our own traces are taken again"),
            _ => {}
        }
    }
}

impl SpanExporter for CountedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.inner.export(batch).await;
        self.count(spans, &exported);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
