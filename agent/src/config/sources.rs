//! What is collected, checked and with defaults filled in.

use std::net::SocketAddr;

use tenantscope_model::Region;

use super::document::{CloudWatchSection, LogsSection, OtlpSection, SourcesSection, StatisticsSection, XraySection};
use super::{ConfigError, Glob, Options, Statistic, TimeSpan};

/// The sources that are on.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub struct OtlpReceiver {
    /// Address for gRPC.
    pub grpc: Option<SocketAddr>,
    /// Address for HTTP.
    pub http: Option<SocketAddr>,
}

impl Sources {
    /// All AWS sources with their defaults, where the configuration names no sources at all.
    pub(super) fn resolve(section: Option<SourcesSection>, options: &Options) -> Result<Self, ConfigError> {
        let mut section = section.unwrap_or_else(|| SourcesSection {
            cloudwatch: Some(CloudWatchSection::default()),
            logs: Some(LogsSection::default()),
            xray: Some(XraySection::default()),
            otlp: None,
        });
        apply_options(&mut section, options);
        let sources = Self {
            cloudwatch: section.cloudwatch.map(|it| CloudWatch::resolve(it, options)).transpose()?,
            logs: section.logs.map(|it| Logs::resolve(it, options)).transpose()?,
            xray: section.xray.map(|it| Xray::resolve(it, options)).transpose()?,
            otlp: section.otlp.as_ref().map(OtlpReceiver::resolve).transpose()?,
        };
        if sources.is_empty() {
            return Err(ConfigError::option("sources", "no source is on"));
        }
        Ok(sources)
    }

    fn is_empty(&self) -> bool {
        self.cloudwatch.is_none() && self.logs.is_none() && self.xray.is_none() && self.otlp.is_none()
    }

    /// Whether any source speaks to AWS.
    pub fn any_from_aws(&self) -> bool {
        self.cloudwatch.is_some() || self.logs.is_some() || self.xray.is_some()
    }
}

/// An option that belongs to a source turns it on.
fn apply_options(section: &mut SourcesSection, options: &Options) {
    if let Some(namespaces) = &options.cloudwatch_namespaces {
        section.cloudwatch.get_or_insert_default().namespaces = Some(Options::globs(namespaces));
    }
    if let Some(groups) = &options.logs_groups {
        section.logs.get_or_insert_default().groups = Some(Options::globs(groups));
    }
    if let Some(address) = options.otlp_grpc {
        section.otlp.get_or_insert_default().grpc = Some(address);
    }
    if let Some(address) = options.otlp_http {
        section.otlp.get_or_insert_default().http = Some(address);
    }
}

fn regions(own: Option<Vec<Region>>, options: &Options) -> Vec<Region> {
    own.or_else(|| options.regions.clone()).unwrap_or_default()
}

fn at_least(option: &'static str, value: TimeSpan, least: TimeSpan) -> Result<TimeSpan, ConfigError> {
    if value < least {
        return Err(ConfigError::option(option, format!("{:?} is less than {:?}", value.0, least.0)));
    }
    Ok(value)
}

fn at_most(option: &'static str, value: TimeSpan, most: TimeSpan) -> Result<TimeSpan, ConfigError> {
    if value > most {
        return Err(ConfigError::option(option, format!("{:?} is more than {:?}", value.0, most.0)));
    }
    Ok(value)
}

const SECOND: TimeSpan = TimeSpan::from_secs(1);
const MINUTE: TimeSpan = TimeSpan::from_secs(60);
const HOUR: TimeSpan = TimeSpan::from_secs(3_600);
const DAY: TimeSpan = TimeSpan::from_secs(86_400);
/// CloudWatch keeps one-minute datapoints for 15 days.
const METRICS_KEPT: TimeSpan = TimeSpan::from_secs(15 * 86_400);

impl CloudWatch {
    fn resolve(section: CloudWatchSection, options: &Options) -> Result<Self, ConfigError> {
        let interval = section.interval.or(options.interval).unwrap_or(MINUTE);
        let statistics = section.statistics.into_iter().map(StatisticsRule::resolve).collect::<Result<_, _>>()?;
        Ok(Self {
            regions: regions(section.regions, options),
            namespaces: section.namespaces.unwrap_or_default(),
            interval: at_least("sources.cloudwatch.interval", interval, SECOND)?,
            lookback: at_most("sources.cloudwatch.lookback", section.lookback.unwrap_or(HOUR), METRICS_KEPT)?,
            overlap: at_most("sources.cloudwatch.overlap", section.overlap.unwrap_or(TimeSpan::from_secs(600)), DAY)?,
            max_metrics: section.max_metrics.unwrap_or(20_000),
            statistics,
        })
    }
}

impl StatisticsRule {
    fn resolve(section: StatisticsSection) -> Result<Self, ConfigError> {
        let period = section.period.unwrap_or(MINUTE);
        let seconds = period.0.as_secs();
        // What GetMetricData takes: 1, 5, 10, 20, 30 or a multiple of 60 seconds.
        let allowed = matches!(seconds, 1 | 5 | 10 | 20 | 30) || (seconds > 0 && seconds.is_multiple_of(60));
        if !allowed || period > DAY {
            let message = "the period is not 1s, 5s, 10s, 20s, 30s or whole minutes up to a day";
            return Err(ConfigError::option("sources.cloudwatch.statistics", message));
        }
        Ok(Self {
            namespace: section.namespace,
            metric: section.metric.unwrap_or_else(|| Glob::new("*")),
            statistics: section.statistics,
            period,
        })
    }
}

impl Logs {
    fn resolve(section: LogsSection, options: &Options) -> Result<Self, ConfigError> {
        let interval = section.interval.or(options.interval).unwrap_or(TimeSpan::from_secs(30));
        Ok(Self {
            regions: regions(section.regions, options),
            groups: section.groups.unwrap_or_else(|| vec![Glob::new("/aws/lambda/*")]),
            interval: at_least("sources.logs.interval", interval, SECOND)?,
            lookback: section.lookback.unwrap_or(HOUR),
            overlap: at_most("sources.logs.overlap", section.overlap.unwrap_or(TimeSpan::from_secs(600)), DAY)?,
            max_groups: section.max_groups.unwrap_or(500),
        })
    }
}

impl Xray {
    fn resolve(section: XraySection, options: &Options) -> Result<Self, ConfigError> {
        let interval = section.interval.or(options.interval).unwrap_or(TimeSpan::from_secs(30));
        Ok(Self {
            regions: regions(section.regions, options),
            interval: at_least("sources.xray.interval", interval, SECOND)?,
            lookback: section.lookback.unwrap_or(HOUR),
            overlap: at_most("sources.xray.overlap", section.overlap.unwrap_or(TimeSpan::from_secs(300)), DAY)?,
            filter: section.filter,
        })
    }
}

impl OtlpReceiver {
    fn resolve(section: &OtlpSection) -> Result<Self, ConfigError> {
        if section.grpc.is_none() && section.http.is_none() {
            return Err(ConfigError::option("sources.otlp", "needs an address: grpc, http or both"));
        }
        Ok(Self { grpc: section.grpc, http: section.http })
    }
}
