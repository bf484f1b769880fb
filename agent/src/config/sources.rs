//! What is collected, checked and with defaults filled in.

use std::net::SocketAddr;

use tenantscope_model::Region;

use tenantscope_wire::document::{
    Choice, CloudWatchSource, InvalidDocument, LogsSource, OtlpSource, StatisticsChoice, XraySource,
};
use tenantscope_wire::{AgentDocument, document};

use super::{Glob, Options, Statistic, TimeSpan};

/// The sources that are on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// CloudWatch metrics.
    pub cloudwatch: Option<CloudWatch>,
    /// CloudWatch Logs.
    pub logs: Option<Logs>,
    /// X-Ray.
    pub xray: Option<Xray>,
    /// OTLP from applications.
    pub otlp: Option<OtlpReceiver>,
}

/// CloudWatch metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudWatch {
    /// The regions; empty: the AWS configuration's own.
    pub regions: Vec<Region>,
    /// The namespaces; empty: all.
    pub namespaces: Vec<Glob>,
    /// Time between two rounds. Default 60 s.
    pub interval: TimeSpan,
    /// How far the first round looks back. Default 1 h.
    pub lookback: TimeSpan,
    /// How long datapoints are read again. Default 10 min.
    pub overlap: TimeSpan,
    /// The most metrics that a round asks for. Default 20,000.
    pub max_metrics: usize,
    /// Statistics before the built-in ones.
    pub statistics: Vec<StatisticsRule>,
}

/// Which statistics are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsRule {
    /// The namespaces that it is for.
    pub namespace: Glob,
    /// The metrics that it is for.
    pub metric: Glob,
    /// The statistics.
    pub statistics: Vec<Statistic>,
    /// The period.
    pub period: TimeSpan,
}

/// CloudWatch Logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// The regions; empty: the AWS configuration's own.
    pub regions: Vec<Region>,
    /// The log groups. Default `/aws/lambda/*`.
    pub groups: Vec<Glob>,
    /// Time between two rounds. Default 30 s.
    pub interval: TimeSpan,
    /// How far the first round looks back. Default 1 h.
    pub lookback: TimeSpan,
    /// How late an event may come. Default 10 min.
    pub overlap: TimeSpan,
    /// The most groups. Default 500.
    pub max_groups: usize,
}

/// X-Ray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xray {
    /// The regions; empty: the AWS configuration's own.
    pub regions: Vec<Region>,
    /// Time between two rounds. Default 30 s.
    pub interval: TimeSpan,
    /// How far the first round looks back. Default 1 h.
    pub lookback: TimeSpan,
    /// How late a segment may come. Default 5 min.
    pub overlap: TimeSpan,
    /// Filter expression.
    pub filter: Option<String>,
}

/// OTLP from applications. At least one address is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpReceiver {
    /// Address for gRPC.
    pub grpc: Option<SocketAddr>,
    /// Address for HTTP.
    pub http: Option<SocketAddr>,
}

impl Sources {
    /// What a document turns on, with defaults filled in; all AWS sources where it has no `sources`.
    pub(super) fn resolve(document: AgentDocument, options: &Options) -> Result<Self, InvalidDocument> {
        let mut document = document;
        let mut sources = document.sources.take().unwrap_or_else(all_of_aws);
        apply_options(&mut sources, options);
        let document = AgentDocument { sources: Some(sources), ..document };
        document.check()?;
        let AgentDocument { enabled: true, sources: Some(sources), .. } = document else { return Ok(Self::default()) };
        Ok(Self {
            cloudwatch: sources.cloudwatch.on().map(|it| CloudWatch::resolve(it, options)),
            logs: sources.logs.on().map(|it| Logs::resolve(it, options)),
            xray: sources.xray.on().map(|it| Xray::resolve(it, options)),
            otlp: sources.otlp.as_on().map(OtlpReceiver::resolve),
        })
    }

    /// Whether any source speaks to AWS.
    pub fn any_from_aws(&self) -> bool {
        self.cloudwatch.is_some() || self.logs.is_some() || self.xray.is_some()
    }

    /// Whether a source relies on the AWS configuration's own region.
    pub fn needs_region(&self) -> bool {
        self.cloudwatch.as_ref().is_some_and(|it| it.regions.is_empty())
            || self.logs.as_ref().is_some_and(|it| it.regions.is_empty())
            || self.xray.as_ref().is_some_and(|it| it.regions.is_empty())
    }
}

/// What is collected where nobody names a source.
pub(super) fn all_of_aws() -> document::Sources {
    document::Sources {
        cloudwatch: Choice::On(CloudWatchSource::default()),
        logs: Choice::On(LogsSource::default()),
        xray: Choice::On(XraySource::default()),
        otlp: Choice::Unsaid,
    }
}

/// An option that belongs to a source turns it on.
fn apply_options(sources: &mut document::Sources, options: &Options) {
    if let Some(namespaces) = &options.cloudwatch_namespaces {
        sources.cloudwatch.turn_on(|source| source.namespaces = Some(Options::globs(namespaces)));
    }
    if let Some(groups) = &options.logs_groups {
        sources.logs.turn_on(|source| source.groups = Some(Options::globs(groups)));
    }
    if let Some(address) = options.otlp_grpc {
        sources.otlp.turn_on(|source| source.grpc = Some(address));
    }
    if let Some(address) = options.otlp_http {
        sources.otlp.turn_on(|source| source.http = Some(address));
    }
}

fn regions(own: Option<Vec<Region>>, options: &Options) -> Vec<Region> {
    own.or_else(|| options.regions.clone()).unwrap_or_default()
}

const HALF_A_MINUTE: TimeSpan = TimeSpan::from_secs(30);
const MINUTE: TimeSpan = TimeSpan::from_secs(60);
const FIVE_MINUTES: TimeSpan = TimeSpan::from_secs(300);
const TEN_MINUTES: TimeSpan = TimeSpan::from_secs(600);
const HOUR: TimeSpan = TimeSpan::from_secs(3_600);

impl CloudWatch {
    fn resolve(source: CloudWatchSource, options: &Options) -> Self {
        Self {
            regions: regions(source.regions, options),
            namespaces: source.namespaces.unwrap_or_default(),
            interval: source.interval.or(options.interval).unwrap_or(MINUTE),
            lookback: source.lookback.unwrap_or(HOUR),
            overlap: source.overlap.unwrap_or(TEN_MINUTES),
            max_metrics: source.max_metrics.unwrap_or(20_000),
            statistics: source.statistics.into_iter().map(StatisticsRule::resolve).collect(),
        }
    }
}

impl StatisticsRule {
    fn resolve(choice: StatisticsChoice) -> Self {
        Self {
            namespace: choice.namespace,
            metric: choice.metric.unwrap_or_else(|| Glob::new("*")),
            statistics: choice.statistics,
            period: choice.period.unwrap_or(MINUTE),
        }
    }
}

impl Logs {
    fn resolve(source: LogsSource, options: &Options) -> Self {
        Self {
            regions: regions(source.regions, options),
            groups: source.groups.unwrap_or_else(|| vec![Glob::new("/aws/lambda/*")]),
            interval: source.interval.or(options.interval).unwrap_or(HALF_A_MINUTE),
            lookback: source.lookback.unwrap_or(HOUR),
            overlap: source.overlap.unwrap_or(TEN_MINUTES),
            max_groups: source.max_groups.unwrap_or(500),
        }
    }
}

impl Xray {
    fn resolve(source: XraySource, options: &Options) -> Self {
        Self {
            regions: regions(source.regions, options),
            interval: source.interval.or(options.interval).unwrap_or(HALF_A_MINUTE),
            lookback: source.lookback.unwrap_or(HOUR),
            overlap: source.overlap.unwrap_or(FIVE_MINUTES),
            filter: source.filter,
        }
    }
}

impl OtlpReceiver {
    fn resolve(source: &OtlpSource) -> Self {
        Self { grpc: source.grpc, http: source.http }
    }
}
