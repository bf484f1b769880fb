use std::error::Error;

use tenantscope_model::InvalidMatcher;

const ESCAPES_NOTHING: &str = "trailing backslash";

/// Why a matcher's regular expression is none, as Prometheus puts it where the reason is a common one.
pub(super) fn regex_message(pattern: &str, error: &InvalidMatcher) -> String {
    let reason = error.source().map(ToString::to_string).unwrap_or_default();
    // The reason is the last line; those above draw the place.
    let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").trim();
    // The pattern is compiled with brackets around it.
    let backslashes = pattern.len() - pattern.trim_end_matches('\\').len();
    let reason = if backslashes % 2 == 1 { ESCAPES_NOTHING } else { reason };
    let worded = match reason {
        "unclosed group" => format!("missing closing ): `{pattern}`"),
        "unopened group" => format!("unexpected ): `{pattern}`"),
        "repetition operator missing expression" => {
            let operator = pattern.chars().find(|c| matches!(c, '*' | '+' | '?')).unwrap_or('*');
            format!("missing argument to repetition operator: `{operator}`")
        }
        "unclosed character class" => {
            let from_class = pattern.rfind('[').and_then(|at| pattern.get(at..)).unwrap_or(pattern);
            format!("missing closing ]: `{from_class}`")
        }
        ESCAPES_NOTHING => "trailing backslash at end of expression: ``".to_owned(),
        other => format!("{other}: `{pattern}`"),
    };
    format!("error parsing regexp: {worded}")
}
