//! Names of metrics and labels by OpenTelemetry's Prometheus compatibility rules.

use std::borrow::Cow;

/// What the name's suffix depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// `_total` at the end.
    Counter,
    /// `_ratio` for the unit `1`.
    Gauge,
    /// Unit only.
    Other,
}

/// UCUM's units with the words that Prometheus uses.
const UNITS: [(&str, &str); 27] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("kBy", "kilobytes"),
    // Not UCUM's, but what Prometheus takes.
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// The same after a slash.
const PER_UNITS: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

/// The series' name: tokens of letters, digits and colons, then the unit, then `total` or `ratio`; empty without any.
pub(crate) fn metric_name(name: &str, unit: &str, kind: NameKind) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let mut tokens: Vec<Cow<'_, str>> =
        name.split(|c: char| !is_token(c)).filter(|token| !token.is_empty()).map(Cow::from).collect();
    if tokens.is_empty() {
        return String::new();
    }
    let (main, per) = unit_words(unit);
    if !main.is_empty() && !tokens.contains(&main) {
        tokens.push(main);
    }
    let is_per = |pair: &[Cow<'_, str>]| matches!(pair, [first, second] if first == "per" && *second == per);
    if !per.is_empty() && !tokens.windows(2).any(is_per) {
        tokens.extend(["per".into(), per]);
    }
    let suffix = match kind {
        NameKind::Counter => Some("total"),
        NameKind::Gauge if unit.trim() == "1" => Some("ratio"),
        NameKind::Gauge | NameKind::Other => None,
    };
    if let Some(suffix) = suffix {
        tokens.retain(|token| token != suffix);
        tokens.push(suffix.into());
    }
    let joined = tokens.join("_");
    match joined.bytes().next() {
        Some(b) if b.is_ascii_digit() => format!("_{joined}"),
        _ => joined,
    }
}

/// The series' name with all its characters, and the same words behind it.
pub(crate) fn utf8_metric_name(name: &str, unit: &str, kind: NameKind) -> String {
    let ratio = if kind == NameKind::Gauge && unit.trim() == "1" { "ratio" } else { "" };
    let total = if kind == NameKind::Counter { "total" } else { "" };
    let (main, per) = raw_unit_words(unit);
    let per = if per.is_empty() { String::new() } else { format!("per_{per}") };
    let mut name = [ratio, total, &per].into_iter().fold(name, without_last_word).to_owned();
    let main = if name.ends_with(main) { "" } else { main };
    for word in [main, &per, total, ratio].into_iter().filter(|word| !word.is_empty()) {
        name.push('_');
        name.push_str(word);
    }
    name
}

/// The name without a word at its end and what stands before the word.
fn without_last_word<'a>(name: &'a str, word: &str) -> &'a str {
    let rest = name.strip_suffix(word).filter(|_| !word.is_empty());
    let before = rest.and_then(|rest| rest.char_indices().next_back()).map(|(at, _)| at).filter(|at| *at > 0);
    before.and_then(|at| name.get(..at)).unwrap_or(name)
}

/// A unit in words, as metadata tells it: `bytes_per_second`.
pub(crate) fn unit_name(unit: &str) -> String {
    match unit_words(unit) {
        (main, per) if per.is_empty() => main.into_owned(),
        (main, per) if main.is_empty() => format!("per_{per}"),
        (main, per) => format!("{main}_per_{per}"),
    }
}

/// The words of a unit and of what it is divided by, fit for a name; empty where there is none.
fn unit_words(unit: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (main, per) = raw_unit_words(unit);
    (fit(main), fit(per))
}

/// The same as they are.
fn raw_unit_words(unit: &str) -> (&str, &str) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    (unit_word(main, &UNITS), unit_word(per, &PER_UNITS))
}

fn unit_word<'a>(unit: &'a str, words: &[(&str, &'static str)]) -> &'a str {
    let unit = unit.trim();
    // What stands in braces is an annotation.
    if unit.contains(['{', '}']) {
        return "";
    }
    words.iter().find(|(ucum, _)| *ucum == unit).map_or(unit, |(_, word)| word)
}

fn fit(unit: &str) -> Cow<'_, str> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let cleaned: Vec<&str> = unit.split(|c: char| !is_token(c)).filter(|token| !token.is_empty()).collect();
    cleaned.join("_").into()
}

/// A label's name: letters, digits and single underscores; names that begin with underscores are Prometheus's own.
pub(crate) fn label_name(key: &str) -> Cow<'_, str> {
    let is_valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let cleaned: Cow<'_, str> =
        if key.bytes().all(is_valid) && !key.contains("__") { key.into() } else { with_single_underscores(key).into() };
    match cleaned.as_bytes() {
        [b'0'..=b'9', ..] => format!("key_{cleaned}").into(),
        [b'_', ..] => format!("key{cleaned}").into(),
        _ => cleaned,
    }
}

/// Runs of anything that a label's name can't have, and of underscores, become one underscore.
fn with_single_underscores(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for c in key.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_compatibility_rules() {
        for (name, unit, kind, expected) in [
            ("http.server.duration", "ms", NameKind::Other, "http_server_duration_milliseconds"),
            ("http.server.request.duration", "s", NameKind::Other, "http_server_request_duration_seconds"),
            ("requests", "{request}", NameKind::Counter, "requests_total"),
            ("requests.total.count", "1", NameKind::Counter, "requests_count_total"),
            ("disk.used", "By", NameKind::Gauge, "disk_used_bytes"),
            ("disk.used.bytes", "By", NameKind::Gauge, "disk_used_bytes"),
            ("cpu.utilization", "1", NameKind::Gauge, "cpu_utilization_ratio"),
            ("network.io", "By/s", NameKind::Gauge, "network_io_bytes_per_second"),
            ("2xx", "", NameKind::Counter, "_2xx_total"),
            ("a__b..c", "", NameKind::Gauge, "a_b_c"),
            ("rule:level:metric", "", NameKind::Gauge, "rule:level:metric"),
            ("temp", "foo.bar", NameKind::Gauge, "temp_foo_bar"),
            ("network.bytes.per.second", "By/s", NameKind::Gauge, "network_bytes_per_second"),
            ("seconds.late", "1/s", NameKind::Other, "seconds_late_per_second"),
            ("speed", "m/s", NameKind::Gauge, "speed_meters_per_second"),
            ("disk", "kBy", NameKind::Gauge, "disk_kilobytes"),
            ("custom.metric", "By/{custom}", NameKind::Gauge, "custom_metric_bytes"),
            ("items", "1", NameKind::Counter, "items_total"),
            ("cpu.ratio", "1", NameKind::Gauge, "cpu_ratio"),
            ("response.time.seconds", "s", NameKind::Other, "response_time_seconds"),
            ("custom_metric", "custom_unit", NameKind::Other, "custom_metric_custom_unit"),
            ("...", "s", NameKind::Counter, ""),
        ] {
            assert_eq!(metric_name(name, unit, kind), expected, "{name} {unit}");
        }
    }

    #[test]
    fn names_may_keep_their_characters() {
        for (name, unit, kind, expected) in [
            ("http.requests", "{request}", NameKind::Counter, "http.requests_total"),
            ("http.requests.total", "", NameKind::Counter, "http.requests_total"),
            ("http.server.duration", "s", NameKind::Other, "http.server.duration_seconds"),
            ("http.server.seconds", "s", NameKind::Other, "http.server.seconds"),
            ("cpu.utilization", "1", NameKind::Gauge, "cpu.utilization_ratio"),
            ("network.io", "By/s", NameKind::Gauge, "network.io_bytes_per_second"),
            ("größe", "foo.bar", NameKind::Gauge, "größe_foo.bar"),
            ("total", "", NameKind::Counter, "total_total"),
            ("ätotal", "", NameKind::Counter, "ätotal_total"),
        ] {
            assert_eq!(utf8_metric_name(name, unit, kind), expected, "{name} {unit}");
        }
    }

    #[test]
    fn label_names_are_valid_and_never_reserved() {
        for (key, expected) in [
            ("http.method", "http_method"),
            ("dimension_FunctionName", "dimension_FunctionName"),
            ("1st", "key_1st"),
            ("__name__", "key_name_"),
            ("label!with&special$chars)", "label_with_special_chars_"),
            ("label:with:colons", "label_with_colons"),
            ("label.name__with&&special##chars", "label_name_with_special_chars"),
            ("trailing_underscores___", "trailing_underscores_"),
            (".foo", "key_foo"),
            ("字符", "key_"),
            ("_a", "key_a"),
            ("ä", "key_"),
        ] {
            assert_eq!(label_name(key), expected, "{key}");
        }
    }
}
