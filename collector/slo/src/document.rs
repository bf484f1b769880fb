//! OpenSLO v1 documents as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;
use tenantscope_rules::Mistake;

/// The largest file.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What all documents have.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(rename = "apiVersion")]
    api_version: Spanned<String>,
    kind: Spanned<String>,
}

/// `kind: SLO`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SloDocument {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub(crate) metadata: Metadata,
    pub(crate) spec: SloSpec,
}

/// `kind: SLI`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SliDocument {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub(crate) metadata: Metadata,
    pub(crate) spec: SliSpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    pub(crate) name: Spanned<String>,
    #[serde(rename = "displayName")]
    pub(crate) display_name: Option<String>,
    /// Accepted, since OpenSLO has them; nothing goes by them.
    #[serde(rename = "labels")]
    pub(crate) _labels: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SloSpec {
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) service: String,
    pub(crate) indicator: Option<Indicator>,
    pub(crate) indicator_ref: Option<Spanned<String>>,
    pub(crate) time_window: Spanned<Vec<TimeWindow>>,
    pub(crate) budgeting_method: Spanned<String>,
    pub(crate) objectives: Spanned<Vec<ObjectiveDocument>>,
    /// Accepted, since OpenSLO has them; every objective gets burn-rate alerts of our own.
    #[serde(rename = "alertPolicies")]
    pub(crate) _alert_policies: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Indicator {
    #[serde(rename = "metadata")]
    pub(crate) _metadata: Option<serde_json::Value>,
    pub(crate) spec: SliSpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SliSpec {
    #[serde(rename = "description")]
    pub(crate) _description: Option<String>,
    pub(crate) ratio_metric: Option<RatioMetric>,
    #[serde(rename = "thresholdMetric")]
    pub(crate) _threshold_metric: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RatioMetric {
    pub(crate) counter: bool,
    pub(crate) good: Option<Metric>,
    pub(crate) bad: Option<Metric>,
    pub(crate) total: Metric,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Metric {
    pub(crate) metric_source: MetricSource,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct MetricSource {
    #[serde(rename = "metricSourceRef")]
    pub(crate) _metric_source_ref: Option<String>,
    pub(crate) r#type: Option<Spanned<String>>,
    pub(crate) spec: QuerySpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuerySpec {
    pub(crate) query: Spanned<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct TimeWindow {
    pub(crate) duration: Spanned<String>,
    pub(crate) is_rolling: Option<bool>,
    pub(crate) calendar: Option<Calendar>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Calendar {
    #[serde(rename = "startTime")]
    pub(crate) _start_time: String,
    pub(crate) time_zone: Spanned<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ObjectiveDocument {
    #[serde(rename = "displayName")]
    pub(crate) _display_name: Option<String>,
    pub(crate) target: Option<Spanned<f64>>,
    pub(crate) target_percent: Option<Spanned<f64>>,
}

/// Documents of one file, with the line before each.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) slos: Vec<(u64, SloDocument)>,
    pub(crate) slis: Vec<SliDocument>,
}

/// Reads a file's documents. Blocks.
pub(crate) fn load(path: &std::path::Path) -> Result<Documents, Vec<Mistake>> {
    let file = path.display().to_string();
    let failed = |message: String| vec![Mistake { file: file.clone(), line: None, message }];
    let size = std::fs::metadata(path).map_err(|e| failed(format!("can't be read: {e}")))?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(format!("has {size} bytes; a file of objectives has at most {MAX_FILE_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(format!("can't be read: {e}")))?;
    parse(&file, &text)
}

/// The documents of a file's text.
pub(crate) fn parse(file: &str, text: &str) -> Result<Documents, Vec<Mistake>> {
    let mut documents = Documents::default();
    let mut mistakes = Vec::new();
    for (before, part) in split(text) {
        let mistake = |line: Option<u64>, message: String| Mistake {
            file: file.to_owned(),
            line: line.map(|line| line + before),
            message,
        };
        let wrong = |error: serde_saphyr::Error| {
            let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
            mistake(line, error.without_snippet().to_string())
        };
        let envelope: Envelope = match serde_saphyr::from_str(&part) {
            Ok(envelope) => envelope,
            Err(error) => {
                mistakes.push(wrong(error));
                continue;
            }
        };
        if envelope.api_version.value != "openslo/v1" {
            let message = format!("apiVersion is {:?}, not openslo/v1", envelope.api_version.value);
            mistakes.push(mistake(Some(envelope.api_version.referenced.line()), message));
            continue;
        }
        let read = match envelope.kind.value.as_str() {
            "SLO" => serde_saphyr::from_str(&part).map(|slo| documents.slos.push((before, slo))),
            "SLI" => serde_saphyr::from_str(&part).map(|sli| documents.slis.push(sli)),
            // They are OpenSLO's too, and say nothing that we go by.
            "Service" | "DataSource" | "AlertPolicy" | "AlertCondition" | "AlertNotificationTarget" => Ok(()),
            other => {
                let message = format!("kind {other:?} is not one of OpenSLO v1");
                mistakes.push(mistake(Some(envelope.kind.referenced.line()), message));
                continue;
            }
        };
        mistakes.extend(read.err().map(wrong));
    }
    if mistakes.is_empty() { Ok(documents) } else { Err(mistakes) }
}

/// Splits at lines of `---`; with each part the number of lines before it.
fn split(text: &str) -> Vec<(u64, String)> {
    let mut parts = vec![(0, String::new())];
    for (number, line) in (1u64..).zip(text.lines()) {
        if line.trim_end() == "---" {
            parts.push((number, String::new()));
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    parts.retain(|(_, part)| !part.lines().all(blank));
    parts
}
