//! An agent's configuration beyond its bootstrap.

mod choice;
mod glob;
mod statistic;
mod within;
pub mod yaml;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tenantscope_model::{Region, TimeSpan};

pub use choice::Choice;
pub use glob::Glob;
pub use statistic::Statistic;
pub use within::usd;

/// The largest document, in bytes: it goes with an identity exchange.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// An agent's configuration beyond its bootstrap; its keys stand in `agent.yaml` too.
///
/// It has no place for credentials, for endpoints of AWS, or for the collector's address: a collector can change what is
/// collected, not where it goes or as whom. What it leaves out, a source too, stays as the agent's own file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentDocument {
    /// An agent that is not enabled collects nothing but keeps asking for its document.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// What is collected, source by source; absent to leave all to the agent's own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Sources>,
    /// What collecting may cost in the account, in USD a month; absent to leave it to the agent's own file.
    #[serde(default, deserialize_with = "within::usd", skip_serializing_if = "Option::is_none")]
    pub budget_usd_per_month: Option<f64>,
}

/// A document as the collector hands it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionedDocument {
    /// Rises with each change of the document; the agent reports the one in force.
    pub version: u64,
    /// An [`AgentDocument`]. It is parsed by itself, so that an agent that does not know one of its keys refuses the
    /// document and not the token that comes with it.
    pub content: serde_json::Value,
}

/// What makes a document useless though each of its keys is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    /// Nothing would be collected.
    #[error("sources: no source is on; use `enabled: false` to collect nothing")]
    NoSource,
    /// A document that has the key and says nothing with it.
    #[error("sources: no source is named; leave the key out to change none, use `enabled: false` to collect nothing")]
    Unsaid,
    /// A receiver that listens nowhere.
    #[error("sources.otlp: needs an address: grpc, http or both")]
    NoAddress,
}

impl InvalidDocument {
    /// The key at fault.
    pub fn key(self) -> &'static str {
        match self {
            Self::NoSource | Self::Unsaid => "sources",
            Self::NoAddress => "sources.otlp",
        }
    }
}

fn enabled() -> bool {
    true
}

impl Default for AgentDocument {
    fn default() -> Self {
        Self { enabled: true, sources: None, budget_usd_per_month: None }
    }
}

impl AgentDocument {
    /// What no key can tell by itself.
    pub fn check(&self) -> Result<(), InvalidDocument> {
        let Some(sources) = &self.sources else { return Ok(()) };
        if self.enabled && *sources == Sources::default() {
            return Err(InvalidDocument::Unsaid);
        }
        match &sources.otlp {
            Choice::On(otlp) if otlp.grpc.is_none() && otlp.http.is_none() => Err(InvalidDocument::NoAddress),
            _ => Ok(()),
        }
    }
}

impl Sources {
    /// Whether any is on.
    pub fn any_on(&self) -> bool {
        self.cloudwatch.is_on() || self.logs.is_on() || self.xray.is_on() || self.otlp.is_on()
    }

    /// These, and of each source that they say nothing of what the others have. A source is taken whole.
    #[must_use]
    pub fn over(self, others: Self) -> Self {
        Self {
            cloudwatch: self.cloudwatch.or(others.cloudwatch),
            logs: self.logs.or(others.logs),
            xray: self.xray.or(others.xray),
            otlp: self.otlp.or(others.otlp),
        }
    }
}

/// `sources`: what an agent collects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sources {
    /// CloudWatch metrics.
    #[serde(skip_serializing_if = "Choice::is_unsaid")]
    pub cloudwatch: Choice<CloudWatchSource>,
    /// CloudWatch Logs.
    #[serde(skip_serializing_if = "Choice::is_unsaid")]
    pub logs: Choice<LogsSource>,
    /// X-Ray traces.
    #[serde(skip_serializing_if = "Choice::is_unsaid")]
    pub xray: Choice<XraySource>,
    /// OTLP from applications.
    #[serde(skip_serializing_if = "Choice::is_unsaid")]
    pub otlp: Choice<OtlpSource>,
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
    pub namespaces: Option<Vec<Glob>>,
    /// Time between two rounds.
    #[serde(deserialize_with = "within::interval", skip_serializing_if = "Option::is_none")]
    pub interval: Option<TimeSpan>,
    /// How far the first round looks back.
    #[serde(deserialize_with = "within::metrics_lookback", skip_serializing_if = "Option::is_none")]
    pub lookback: Option<TimeSpan>,
    /// How long datapoints are read again because CloudWatch revises them.
    #[serde(deserialize_with = "within::overlap", skip_serializing_if = "Option::is_none")]
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
    pub namespace: Glob,
    /// The metrics that it is for, as a pattern; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Glob>,
    /// `Sum`, `Average`, `p99`, …; none turns the metric off.
    pub statistics: Vec<Statistic>,
    /// The period.
    #[serde(default, deserialize_with = "within::period", skip_serializing_if = "Option::is_none")]
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
    pub groups: Option<Vec<Glob>>,
    /// Time between two rounds.
    #[serde(deserialize_with = "within::interval", skip_serializing_if = "Option::is_none")]
    pub interval: Option<TimeSpan>,
    /// How far the first round looks back.
    #[serde(deserialize_with = "within::lookback", skip_serializing_if = "Option::is_none")]
    pub lookback: Option<TimeSpan>,
    /// How late an event may come and still be found.
    #[serde(deserialize_with = "within::overlap", skip_serializing_if = "Option::is_none")]
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
    #[serde(deserialize_with = "within::interval", skip_serializing_if = "Option::is_none")]
    pub interval: Option<TimeSpan>,
    /// How far the first round looks back.
    #[serde(deserialize_with = "within::lookback", skip_serializing_if = "Option::is_none")]
    pub lookback: Option<TimeSpan>,
    /// How late a segment may come and still be found.
    #[serde(deserialize_with = "within::overlap", skip_serializing_if = "Option::is_none")]
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

    fn parse(json: &str) -> Result<AgentDocument, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn the_shape_of_the_design_is_read() {
        let json = r#"{"budget_usd_per_month": 1.0, "sources": {
            "cloudwatch": {"regions": ["eu-west-1"], "interval": "5m", "statistics": [{"namespace": "AWS/*",
            "statistics": ["p99"], "period": "5m"}]}, "logs": {"groups": ["/aws/lambda/*"]},
            "xray": {}, "otlp": {"grpc": "127.0.0.1:4317"}}}"#;
        let document = parse(json).unwrap();
        assert!(document.enabled && document.check().is_ok());
        let sources = document.sources.as_ref().unwrap();
        assert_eq!(sources.cloudwatch.as_on().unwrap().interval, Some(TimeSpan::from_secs(300)));
        assert_eq!(sources.xray, Choice::On(XraySource::default()));
        assert_eq!(parse(&serde_json::to_string(&document).unwrap()).unwrap(), document);
    }

    #[test]
    fn an_unknown_key_is_an_error_and_so_is_all_that_says_where_to_or_as_whom() {
        for json in [
            r#"{"version": 1}"#,
            r#"{"sources": {"xray": {"a": 1}}}"#,
            r#"{"collector": "https://elsewhere"}"#,
            r#"{"proof": "token"}"#,
            r#"{"token_file": "/etc/shadow"}"#,
            r#"{"spool": {"dir": "/"}}"#,
            r#"{"aws": {"access_key_id": "AKIA"}}"#,
            r#"{"sources": {"cloudwatch": {"endpoint": "https://elsewhere"}}}"#,
            r#"{"sources": {"logs": {"endpoint_url": "https://elsewhere"}}}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_source_is_on_off_or_left_to_the_agent() {
        let off = r#"{"sources": {"logs": null, "xray": "off", "otlp": {"grpc": "127.0.0.1:4317"}}}"#;
        let document = parse(off).unwrap();
        let sources = document.sources.clone().unwrap();
        assert_eq!((&sources.cloudwatch, &sources.logs, &sources.xray), (&Choice::Unsaid, &Choice::Off, &Choice::Off));
        let text = serde_json::to_string(&document).unwrap();
        assert!(text.contains(r#""logs":null,"xray":null,"#) && !text.contains("cloudwatch"), "{text}");
        assert_eq!(parse(&text).unwrap(), document);
        assert!(parse(r#"{"sources": {"xray": "off"}}"#).unwrap().check().is_ok(), "the others are the agent's");
        for wrong in ["\"on\"", "true", "3", "[]"] {
            let error = parse(&format!(r#"{{"sources": {{"xray": {wrong}}}}}"#)).unwrap_err().to_string();
            assert!(error.contains("or `off`"), "{error}");
        }
    }

    #[test]
    fn a_document_is_merged_source_by_source() {
        let sources = |json: &str| parse(&format!(r#"{{"sources": {json}}}"#)).unwrap().sources.unwrap();
        let own =
            sources(r#"{"logs": {"groups": ["/own"], "interval": "1m"}, "xray": {}, "otlp": {"grpc": "127.0.0.1:1"}}"#);
        let merged = sources(r#"{"cloudwatch": {}, "logs": {"groups": ["/theirs"]}, "xray": null}"#).over(own.clone());
        let expected =
            r#"{"cloudwatch": {}, "logs": {"groups": ["/theirs"]}, "xray": null, "otlp": {"grpc": "127.0.0.1:1"}}"#;
        assert_eq!(merged, sources(expected), "a source that is named is taken whole");
        assert!(merged.any_on() && !sources(r#"{"xray": null}"#).any_on());
    }

    #[test]
    fn a_value_out_of_its_bounds_is_an_error() {
        for (json, expected) in [
            (r#"{"sources": {"logs": {"interval": "10ms"}}}"#, "10ms is less than 1s"),
            (r#"{"sources": {"cloudwatch": {"lookback": "16d"}}}"#, "16d is more than 15d"),
            (r#"{"sources": {"xray": {"overlap": "2d"}}}"#, "2d is more than 1d"),
            (r#"{"budget_usd_per_month": -1}"#, "not an amount"),
            (
                r#"{"sources": {"cloudwatch": {"statistics": [{"namespace": "X", "statistics": [], "period": "90s"}]}}}"#,
                "whole minutes",
            ),
            (
                r#"{"sources": {"cloudwatch": {"statistics": [{"namespace": "X", "statistics": ["Median"]}]}}}"#,
                "Median",
            ),
        ] {
            let error = parse(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
        assert_eq!(parse(r#"{"sources": {}}"#).unwrap().check(), Err(InvalidDocument::Unsaid));
        assert!(parse(r#"{"enabled": false, "sources": {}}"#).unwrap().check().is_ok());
        assert_eq!(parse(r#"{"sources": {"otlp": {}}}"#).unwrap().check(), Err(InvalidDocument::NoAddress));
    }
}
