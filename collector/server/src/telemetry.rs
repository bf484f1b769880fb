//! What the collector says about itself: log events, and traces where an endpoint is configured.

use std::io::{self, IsTerminal as _};

use anyhow::{Context, Result, bail};
use axum::http::Uri;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{IntGaugeVec, Opts};
use tenantscope_tenancy::AUDIT;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::audit::AuditLayer;
use crate::cli::LogFormat;
use crate::span_exporter::CountedExporter;

/// Ends the trace exporter when it is dropped, after what it still has to send.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Starts logging to standard error, and tracing to `traces_endpoint` (OTLP over gRPC) if there is one.
///
/// With an endpoint it must be called on a tokio runtime, which the exporter uses.
pub fn start(filter: &str, format: LogFormat, traces_endpoint: Option<&str>, audit: AuditLayer) -> Result<Telemetry> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("log filter {filter:?}"))?;
    // The audit's events are for the audit log alone.
    let filter = filter.and(filter_fn(|metadata| metadata.target() != AUDIT));
    let audit = audit.with_filter(Targets::new().with_target(AUDIT, LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let traces = traces_endpoint.map(exporter).transpose()?;
    // Only our own spans: those of the exporter's connection would be exported in turn, without end.
    let ours = Targets::new().with_target("tenantscope", LevelFilter::INFO);
    let spans = traces.as_ref().map(|provider| {
        let spans = tracing_opentelemetry::layer().with_location(false).with_threads(false);
        spans.with_tracer(provider.tracer("collector")).with_filter(ours)
    });
    tracing_subscriber::registry()
        .with(audit)
        .with(spans)
        .with(lines.with_filter(filter))
        .try_init()
        .context("logging")?;
    show_version().context("own metrics")?;
    Ok(Telemetry { traces })
}

/// Says what is wrong with an endpoint for traces.
pub fn check_endpoint(endpoint: &str) -> Result<()> {
    let address: Result<Uri, _> = endpoint.parse();
    match address.as_ref().map(|address| (address.scheme_str(), address.authority())) {
        Ok((Some("http"), Some(_))) => Ok(()),
        _ => bail!("traces.otlp_grpc: {endpoint:?} is not an address such as http://127.0.0.1:4317 (without TLS)"),
    }
}

fn show_version() -> prometheus::Result<()> {
    let opts = Opts::new("tenantscope_build_info", "1, with the program's version.");
    let info = IntGaugeVec::new(opts, &["version"])?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    prometheus::register(Box::new(info))
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider> {
    check_endpoint(endpoint)?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("trace exporter to {endpoint}"))?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name("tenantscope-collector").with_attribute(version).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(CountedExporter::new(exporter)).with_resource(resource).build())
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.traces.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "some of our own traces were not sent");
        }
    }
}
