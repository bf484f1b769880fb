//! Floats as Go's `fmt` and `strconv` write them, in messages and label values.

/// As `%g`: the shortest digits, with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn general(value: f64) -> String {
    if let Some(text) = unusual(value) {
        return text.to_owned();
    }
    let (mantissa, exponent) = parts(&format!("{value:e}"));
    if value != 0.0 && !(-4..6).contains(&exponent) { with_exponent(&mantissa, exponent) } else { format!("{value}") }
}

/// As `%.2g`: at most two digits.
pub(crate) fn two_digits(value: f64) -> String {
    if let Some(text) = unusual(value) {
        return text.to_owned();
    }
    let scientific = format!("{value:.1e}");
    let (mantissa, exponent) = parts(&scientific);
    if value != 0.0 && !(-4..2).contains(&exponent) {
        return with_exponent(mantissa.strip_suffix(".0").unwrap_or(&mantissa), exponent);
    }
    format!("{}", scientific.parse().unwrap_or(value))
}

/// As OpenMetrics writes a label's value: `.0` after a whole number.
pub(crate) fn open_metrics(value: f64) -> String {
    let text = general(value);
    let is_whole = value.is_finite() && !text.contains(['.', 'e']);
    if is_whole { format!("{text}.0") } else { text }
}

/// Without an exponent, however large.
pub(crate) fn plain(value: f64) -> String {
    unusual(value).map_or_else(|| format!("{value}"), str::to_owned)
}

fn unusual(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Mantissa and exponent of a number in scientific form.
fn parts(scientific: &str) -> (String, i32) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or(0))
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_in_go() {
        for (value, text) in [(1.0, "1"), (1e6, "1e+06"), (123_456.0, "123456"), (0.000_01, "1e-05"), (-0.5, "-0.5")] {
            assert_eq!(general(value), text);
        }
        for (value, text) in [(1.25, "1.2"), (10.0, "10"), (123.0, "1.2e+02"), (100.0, "1e+02"), (0.0, "0")] {
            assert_eq!(two_digits(value), text);
        }
        assert_eq!((open_metrics(1.0), open_metrics(0.9)), ("1.0".to_owned(), "0.9".to_owned()));
        assert_eq!(plain(1e21), "1000000000000000000000");
    }
}
