//! X-Ray's segment documents, as AWS documents them. What is optional there is optional here, and a field of an
//! unexpected type is left out rather than costing the whole segment.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A segment or subsegment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Segment {
    /// The service, or what is called.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// 16 hex digits.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// `1-…`; subsegments within a segment have none.
    #[serde(deserialize_with = "lenient")]
    pub trace_id: Option<String>,
    /// The parent's id.
    #[serde(deserialize_with = "lenient")]
    pub parent_id: Option<String>,
    /// Seconds since the epoch.
    #[serde(deserialize_with = "lenient")]
    pub start_time: f64,
    /// Seconds since the epoch; missing while it is in progress.
    #[serde(deserialize_with = "lenient")]
    pub end_time: Option<f64>,
    /// Whether it has not ended.
    #[serde(deserialize_with = "lenient")]
    pub in_progress: bool,
    /// `subsegment` for one that was sent on its own.
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: Option<String>,
    /// The kind of AWS resource, such as `AWS::Lambda::Function`.
    #[serde(deserialize_with = "lenient")]
    pub origin: Option<String>,
    /// The ARN of the resource.
    #[serde(deserialize_with = "lenient")]
    pub resource_arn: Option<String>,
    /// `aws` for a call of the SDK, `remote` for another downstream call.
    #[serde(deserialize_with = "lenient")]
    pub namespace: Option<String>,
    /// Whether X-Ray made it up from a caller's subsegment.
    #[serde(deserialize_with = "lenient")]
    pub inferred: bool,
    /// The user.
    #[serde(deserialize_with = "lenient")]
    pub user: Option<String>,
    /// `version`.
    #[serde(deserialize_with = "lenient")]
    pub service: Map<String, Value>,
    /// A 5xx or an exception of its own.
    #[serde(deserialize_with = "lenient")]
    pub fault: bool,
    /// A 4xx.
    #[serde(deserialize_with = "lenient")]
    pub error: bool,
    /// A 429.
    #[serde(deserialize_with = "lenient")]
    pub throttle: bool,
    /// `exceptions`, or the id of the exception in another segment.
    #[serde(deserialize_with = "lenient")]
    pub cause: Value,
    /// `request` and `response`.
    #[serde(deserialize_with = "lenient")]
    pub http: Map<String, Value>,
    /// `operation`, `request_id`, `table_name` and others.
    #[serde(deserialize_with = "lenient")]
    pub aws: Map<String, Value>,
    /// `sanitized_query`, `database_type` and others.
    #[serde(deserialize_with = "lenient")]
    pub sql: Map<String, Value>,
    /// What can be searched for.
    #[serde(deserialize_with = "lenient")]
    pub annotations: Map<String, Value>,
    /// What cannot.
    #[serde(deserialize_with = "lenient")]
    pub metadata: Map<String, Value>,
    /// What it did in turn.
    #[serde(deserialize_with = "lenient")]
    pub subsegments: Vec<Segment>,
}

/// The value, or the default where it has another type.
fn lenient<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: for<'any> Deserialize<'any> + Default,
{
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

impl Segment {
    /// Parses a document.
    pub(super) fn parse(document: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(document)
    }

    /// Whether this is a subsegment that was sent on its own.
    pub(super) fn is_subsegment(&self) -> bool {
        self.kind.as_deref() == Some("subsegment")
    }
}
