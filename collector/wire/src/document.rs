use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenantscope_model::Region;

use crate::duration_text;

/// An agent's configuration beyond its bootstrap, as the collector hands it out and as `agent.yaml` embeds it.
///
/// It never contains credentials or endpoints of AWS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentDocument {
    /// Rises with each change; the agent reports the one in force.
    pub version: u64,
    /// The kill switch: an agent that is not enabled collects nothing but keeps asking for its document.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// What is collected.
    #[serde(default)]
    pub sources: Sources,
    /// What collecting may cost in the account, in USD a month; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd_per_month: Option<f64>,
}

fn enabled() -> bool {
    true
}

/// What an agent collects; an absent source is not collected.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sources {
    /// CloudWatch metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloudwatch: Option<CloudWatchSource>,
    /// CloudWatch Logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogsSource>,
    /// X-Ray traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xray: Option<XraySource>,
    /// OTLP from applications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpSource>,
}

/// CloudWatch metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloudWatchSource {
    /// Which regions; empty for the agent's own.
    pub regions: Vec<Region>,
    /// Which namespaces; empty for every one that is present.
    pub namespaces: Vec<String>,
    /// Statistics that replace the default set, the first that matches a metric.
    pub statistics: Vec<StatisticsChoice>,
    /// Time between two rounds.
    #[serde(with = "duration_text")]
    pub every: Duration,
    /// The period of the datapoints asked for; whole minutes.
    #[serde(with = "duration_text")]
    pub period: Duration,
    /// How far back each round asks again, since CloudWatch revises its datapoints.
    #[serde(with = "duration_text")]
    pub revise: Duration,
}

impl Default for CloudWatchSource {
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            namespaces: Vec::new(),
            statistics: Vec::new(),
            every: Duration::from_secs(60),
            period: Duration::from_secs(60),
            revise: Duration::from_secs(600),
        }
    }
}

/// Which statistics are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticsChoice {
    /// The namespace, such as `AWS/Lambda`.
    pub namespace: String,
    /// Metric names; `*` stands for any text; empty for all.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// `Sum`, `Average`, `Maximum`, `Minimum`, `SampleCount`, `p99`, …; empty to leave the metrics out.
    pub statistics: Vec<String>,
}

/// CloudWatch Logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsSource {
    /// Which regions; empty for the agent's own.
    pub regions: Vec<Region>,
    /// Log group names; `*` stands for any text.
    pub groups: Vec<String>,
    /// Log groups left out although `groups` names them.
    pub exclude: Vec<String>,
    /// Time between two rounds.
    #[serde(with = "duration_text")]
    pub every: Duration,
    /// How far back a group is read that was never read before.
    #[serde(with = "duration_text")]
    pub start: Duration,
    /// How late an event may arrive and still be found.
    #[serde(with = "duration_text")]
    pub late: Duration,
}

impl Default for LogsSource {
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            groups: vec!["*".to_owned()],
            exclude: Vec::new(),
            every: Duration::from_secs(10),
            start: Duration::from_secs(3600),
            late: Duration::from_secs(300),
        }
    }
}

/// X-Ray traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct XraySource {
    /// Which regions; empty for the agent's own.
    pub regions: Vec<Region>,
    /// A filter expression of X-Ray's; empty for every trace.
    pub filter: String,
    /// Time between two rounds.
    #[serde(with = "duration_text")]
    pub every: Duration,
    /// How far back traces are read at the first round.
    #[serde(with = "duration_text")]
    pub start: Duration,
    /// How late a segment may arrive and still be found.
    #[serde(with = "duration_text")]
    pub late: Duration,
}

impl Default for XraySource {
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            filter: String::new(),
            every: Duration::from_secs(30),
            start: Duration::from_secs(3600),
            late: Duration::from_secs(300),
        }
    }
}

/// OTLP from applications.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSource {
    /// Where gRPC listens; absent for nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<SocketAddr>,
    /// Where HTTP listens; absent for nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_the_design_is_read() {
        let json = r#"{"version": 3, "budget_usd_per_month": 1.0, "sources": {
            "cloudwatch": {"regions": ["eu-west-1"], "every": "5m"}, "logs": {"groups": ["/aws/lambda/*"]},
            "xray": {}, "otlp": {"grpc": "127.0.0.1:4317"}}}"#;
        let document: AgentDocument = serde_json::from_str(json).unwrap();
        assert!(document.enabled);
        assert_eq!(document.sources.cloudwatch.as_ref().unwrap().every, Duration::from_secs(300));
        assert_eq!(document.sources.xray, Some(XraySource::default()));
        let again: AgentDocument = serde_json::from_str(&serde_json::to_string(&document).unwrap()).unwrap();
        assert_eq!(again, document);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(serde_json::from_str::<AgentDocument>(r#"{"version": 1, "endpoint": "x"}"#).is_err());
        assert!(serde_json::from_str::<AgentDocument>(r#"{"version": 1, "sources": {"xray": {"a": 1}}}"#).is_err());
    }
}
