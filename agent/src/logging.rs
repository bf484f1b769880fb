//! What the agent says about itself: log events on standard error, and its own traces where an endpoint is configured.

use std::io::{self, IsTerminal as _};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _};

/// What is logged unless it is said otherwise. What AWS's own crates warn of is the debug form of an error that we tell in a
/// sentence.
pub const FILTER: &str = "info,aws_config=error,aws_smithy_runtime=error";

/// What is logged, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct LogOptions {
    /// Log filter, such as `info` or `tenantscope_agent=debug`
    #[arg(long, global = true, env = "TENANTSCOPE_LOG", default_value = FILTER, value_name = "FILTER", display_order = 900)]
    pub log: String,
    /// How log lines are written
    #[arg(
        long,
        global = true,
        env = "TENANTSCOPE_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT",
        display_order = 901
    )]
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What is to be ended with the agent.
pub struct Logging {
    traces: Option<SdkTracerProvider>,
}

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is wrong.
    #[error("TENANTSCOPE_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The endpoint for traces is wrong.
    #[error("traces.endpoint: {0}")]
    Traces(#[from] ExporterBuildError),
    /// It was set up before.
    #[error(transparent)]
    Init(#[from] TryInitError),
}

/// Starts logging. Needs the runtime that the exporter will use.
pub fn start(options: &LogOptions, traces_endpoint: Option<&str>) -> Result<Logging, LoggingError> {
    let filter = EnvFilter::try_new(&options.log)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines =
        if options.log_format == LogFormat::Json { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
    let traces = traces_endpoint.map(provider).transpose()?;
    // Only our own spans: the exporter's would be exported in turn, without end.
    let ours = Targets::new().with_target("tenantscope", LevelFilter::INFO);
    let spans = traces
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("agent")).with_filter(ours));
    tracing_subscriber::registry().with(spans).with(lines.with_filter(filter)).try_init()?;
    Ok(Logging { traces })
}

fn provider(endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let resource = Resource::builder().with_service_name("tenantscope-agent").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Logging {
    /// Sends the spans that wait.
    pub async fn end(self) {
        let Some(traces) = self.traces else { return };
        // It waits for the exporter, which needs this thread.
        let ended = tokio::task::spawn_blocking(move || traces.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "some of the agent's own traces were not sent");
        }
    }
}
