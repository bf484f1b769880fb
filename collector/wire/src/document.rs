use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tenantscope_model::{Region, TimeSpan};

/// An agent's configuration beyond its bootstrap, as the collector hands it out; its keys are those of `agent.yaml`.
///
/// It never contains credentials or endpoints of AWS. What a key leaves out stays at the agent's own default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentDocument {
    /// Rises with each change; the agent reports the one in force.
    pub version: u64,
    /// The kill switch: an agent that is not enabled collects nothing but keeps asking for its document.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// What is collected; absent to leave it to the agent's own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Sources>,
    /// What collecting may cost in the account, in USD a month; absent to leave it to the agent's own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd_per_month: Option<f64>,
}

fn enabled() -> bool {
    true
}

/// `sources`: what an agent collects; an absent source is not collected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// `sources.cloudwatch`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloudWatchSource {
    /// Which regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
    /// Which namespaces, as patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Time between two rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<TimeSpan>,
    /// How far the first round looks back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookback: Option<TimeSpan>,
    /// How long datapoints are read again because CloudWatch revises them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<TimeSpan>,
    /// The most metrics that one round asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_metrics: Option<usize>,
    /// Statistics other than the built-in ones; the first that matches counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<StatisticsChoice>,
}

/// One entry of `sources.cloudwatch.statistics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticsChoice {
    /// The namespaces that it is for, as a pattern.
    pub namespace: String,
    /// The metrics that it is for, as a pattern; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// `Sum`, `Average`, `p99`, …; none turns the metric off.
    pub statistics: Vec<String>,
    /// The period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<TimeSpan>,
}

/// `sources.logs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsSource {
    /// Which regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
    /// The log groups, as patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Time between two rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<TimeSpan>,
    /// How far the first round looks back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookback: Option<TimeSpan>,
    /// How late an event may come and still be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<TimeSpan>,
    /// The most groups that are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_groups: Option<usize>,
}

/// `sources.xray`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct XraySource {
    /// Which regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
    /// Time between two rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<TimeSpan>,
    /// How far the first round looks back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookback: Option<TimeSpan>,
    /// How late a segment may come and still be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<TimeSpan>,
    /// A filter expression of X-Ray's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// `sources.otlp`.
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
            "cloudwatch": {"regions": ["eu-west-1"], "interval": "5m"}, "logs": {"groups": ["/aws/lambda/*"]},
            "xray": {}, "otlp": {"grpc": "127.0.0.1:4317"}}}"#;
        let document: AgentDocument = serde_json::from_str(json).unwrap();
        assert!(document.enabled);
        let sources = document.sources.as_ref().unwrap();
        assert_eq!(sources.cloudwatch.as_ref().unwrap().interval, Some(TimeSpan::from_secs(300)));
        assert_eq!(sources.xray, Some(XraySource::default()));
        let again: AgentDocument = serde_json::from_str(&serde_json::to_string(&document).unwrap()).unwrap();
        assert_eq!(again, document);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(serde_json::from_str::<AgentDocument>(r#"{"version": 1, "endpoint": "x"}"#).is_err());
        assert!(serde_json::from_str::<AgentDocument>(r#"{"version": 1, "sources": {"xray": {"a": 1}}}"#).is_err());
    }
}
