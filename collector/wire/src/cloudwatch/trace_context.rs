//! The trace that a log line belongs to, as the line itself names it.

use serde_json::{Map, Value};

use super::trace_id::{hex_bytes, span_id, xray_trace_id};

/// Lines are searched this far for an X-Ray id.
const SEARCHED_BYTES: usize = 4_096;

/// Trace and span; an empty span is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TraceContext {
    /// 16 bytes.
    pub trace_id: Vec<u8>,
    /// 8 bytes or none.
    pub span_id: Vec<u8>,
}

/// From the fields that loggers use.
pub(super) fn of_json(fields: &Map<String, Value>) -> Option<TraceContext> {
    let named = |names: &[&str]| names.iter().find_map(|name| fields.get(*name)).and_then(Value::as_str);
    let trace = named(&["trace_id", "traceId", "traceid", "xray_trace_id", "xrayTraceId", "otelTraceID", "trace.id"])?;
    let trace_id = trace_id(trace)?;
    let span = named(&["span_id", "spanId", "spanid", "otelSpanID", "span.id"]);
    Some(TraceContext { trace_id, span_id: span.and_then(span_id).unwrap_or_default() })
}

/// From an X-Ray id anywhere in the text: `1-58406520-a006649127e371903a2de979`.
pub(super) fn of_text(line: &str) -> Option<TraceContext> {
    let mut end = line.len().min(SEARCHED_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let searched = line.get(..end)?;
    searched.match_indices("1-").find_map(|(at, _)| {
        let before = searched.get(..at)?.bytes().last();
        let candidate = searched.get(at..at + XRAY_ID_BYTES)?;
        let behind = searched.as_bytes().get(at + XRAY_ID_BYTES);
        let ends = |byte: Option<&u8>| !byte.is_some_and(u8::is_ascii_alphanumeric);
        if !ends(before.as_ref()) || !ends(behind) {
            return None;
        }
        Some(TraceContext { trace_id: xray_trace_id(candidate)?, span_id: Vec::new() })
    })
}

/// `1-` + 8 hex digits + `-` + 24 hex digits.
const XRAY_ID_BYTES: usize = 35;

fn trace_id(text: &str) -> Option<Vec<u8>> {
    // `Root=1-…;Parent=…;Sampled=1` as in the tracing header.
    let root = text.split(';').find_map(|part| part.trim().strip_prefix("Root=")).unwrap_or(text);
    xray_trace_id(root).or_else(|| hex_bytes(root).filter(|bytes| bytes.len() == 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    const XRAY: &str = "1-58406520-a006649127e371903a2de979";

    #[test]
    fn json_fields() {
        for (json, found) in [
            (r#"{"trace_id":"58406520a006649127e371903a2de979","span_id":"6226467e3f845502"}"#, (16, 8)),
            (r#"{"xray_trace_id":"1-58406520-a006649127e371903a2de979"}"#, (16, 0)),
            (r#"{"traceId":"Root=1-58406520-a006649127e371903a2de979;Parent=6226467e3f845502;Sampled=1"}"#, (16, 0)),
            (r#"{"trace_id":"zz"}"#, (0, 0)),
            (r#"{"trace_id":"00000000000000000000000000000000"}"#, (0, 0)),
        ] {
            let fields: Map<String, Value> = serde_json::from_str(json).unwrap();
            let context = of_json(&fields).unwrap_or_default();
            assert_eq!((context.trace_id.len(), context.span_id.len()), found, "{json}");
        }
    }

    #[test]
    fn an_xray_id_in_plain_text() {
        let found = of_text(&format!("REPORT RequestId: 1-2 XRAY TraceId: {XRAY}\tSegmentId: 62")).unwrap();
        assert_eq!(Some(found.trace_id), xray_trace_id(XRAY));
        assert_eq!(of_text(&format!("x{XRAY}")), None);
        assert_eq!(of_text(&format!("{XRAY}0")), None);
        assert_eq!(of_text("1-"), None);
        assert_eq!(of_text("1-日本語日本語日本語日本語日本語日本語"), None);
    }
}
