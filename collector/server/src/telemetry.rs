//! What the collector says about itself: log events, and traces where an endpoint is configured.

use std::io::{self, IsTerminal as _};

use anyhow::{Context, Result};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::cli::LogFormat;

/// Ends the trace exporter when it is dropped, after what it still has to send.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Starts logging to standard error, and tracing to `traces_endpoint` (OTLP over gRPC) if there is one.
///
/// With an endpoint it must be called on a tokio runtime, which the exporter uses.
pub fn start(filter: &str, format: LogFormat, traces_endpoint: Option<&str>) -> Result<Telemetry> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("log filter {filter:?}"))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let traces = traces_endpoint.map(exporter).transpose()?;
    let spans =
        traces.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("collector")));
    tracing_subscriber::registry().with(spans).with(lines.with_filter(filter)).try_init().context("logging")?;
    Ok(Telemetry { traces })
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("trace exporter to {endpoint}"))?;
    let resource = Resource::builder().with_service_name("tenantscope-collector").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.traces.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "some of our own traces were not sent");
        }
    }
}
