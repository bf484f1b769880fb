//! Numbers and times as Prometheus writes them, without a string for each.

use std::io::Write as _;

/// Between these, what `serde_json` writes has no exponent; it is the shortest text, as Go's.
const PLAIN: std::ops::Range<f64> = 1e-4..1e15;

/// A sample's value: the shortest text, with an exponent below 1e-6 and from 1e21 on.
pub(super) fn value(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        plain(out, value);
    } else if !value.is_finite() {
        not_finite(out, value);
    } else {
        exponential(out, value);
    }
}

/// A scalar's value: never with an exponent.
pub(super) fn scalar(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() { plain(out, value) } else { not_finite(out, value) }
}

/// A value in the text format for exposition: Go's `g`, so with an exponent below 1e-4 and from 1e6 on.
pub(super) fn exposed(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        // The sign of zero is lost there.
        out.push(b'0');
    } else if !value.is_finite() {
        not_finite(out, value);
    } else if (1e-4..1e6).contains(&magnitude) {
        plain(out, value);
    } else {
        exponential(out, value);
    }
}

fn not_finite(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(match value {
        _ if value.is_nan() => b"NaN",
        _ if value > 0.0 => b"+Inf",
        _ => b"-Inf",
    });
}

fn plain(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude < PLAIN.end && value.trunc() == value {
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        integer(out, value as i64);
    } else if PLAIN.contains(&magnitude) {
        // A vector takes everything.
        let _ = serde_json::to_writer(&mut *out, &value);
    } else {
        let _ = write!(out, "{value}");
    }
}

fn exponential(out: &mut Vec<u8>, value: f64) {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    let _ = write!(out, "{mantissa}e{sign}{digits:0>2}");
}

/// A whole number.
pub(super) fn integer(out: &mut Vec<u8>, number: i64) {
    let _ = serde_json::to_writer(out, &number);
}

/// A point's time in seconds; a fraction has three digits.
pub(super) fn point_time(out: &mut Vec<u8>, t_ms: i64) {
    if t_ms < 0 {
        out.push(b'-');
    }
    let ms = t_ms.unsigned_abs();
    let _ = serde_json::to_writer(&mut *out, &(ms / 1000));
    let fraction = ms % 1000;
    if fraction != 0 {
        let digit = |of: u64| b'0' + u8::try_from(of % 10).unwrap_or_default();
        out.extend_from_slice(&[b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
    }
}

/// The time of a scalar or string in seconds; a fraction has no zeroes at its end.
pub(super) fn scalar_time(out: &mut Vec<u8>, t_ms: i64) {
    point_time(out, t_ms);
    if t_ms % 1000 != 0 {
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: fn(&mut Vec<u8>, f64), number: f64) -> String {
        let mut out = Vec::new();
        write(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    fn time(write: fn(&mut Vec<u8>, i64), t_ms: i64) -> String {
        let mut out = Vec::new();
        write(&mut out, t_ms);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_read_as_prometheus_writes_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-07"),
            (-1e-300, "-1e-300"),
            (1e15, "1000000000000000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (number, expected) in cases {
            assert_eq!(text(value, number), expected);
        }
        assert_eq!((text(scalar, 1e-7), text(scalar, 1e21)), ("0.0000001".into(), "1000000000000000000000".into()));
        assert_eq!(
            (text(exposed, 1.5e-5), text(exposed, 1_795_567_041.0)),
            ("1.5e-05".into(), "1.795567041e+09".into())
        );
    }

    #[test]
    fn points_have_milliseconds_and_scalars_the_shortest_time() {
        assert_eq!(
            ["0", "1.500", "-1.050", "7"],
            [0, 1500, -1050, 7000].map(|t_ms| time(point_time, t_ms)).each_ref().map(String::as_str)
        );
        assert_eq!(
            ["0", "1.5", "-1.05", "10"],
            [0, 1500, -1050, 10_000].map(|t_ms| time(scalar_time, t_ms)).each_ref().map(String::as_str)
        );
    }

    proptest! {
        #[test]
        fn every_value_comes_back(bits in any::<u64>(), whole in any::<i32>(), thousandths in any::<i32>()) {
            for number in [f64::from_bits(bits), f64::from(whole), f64::from(thousandths) / 1000.0] {
                for written in [text(value, number), text(scalar, number), text(exposed, number)] {
                    let back: f64 = written.parse().unwrap();
                    prop_assert!(back == number || (back.is_nan() && number.is_nan()), "{written} is not {number}");
                }
                if number.is_finite() {
                    prop_assert_eq!(text(scalar, number), number.to_string());
                }
            }
        }
    }
}
