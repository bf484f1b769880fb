use serde::{Deserialize, Serialize};

/// A CloudWatch statistic by its name in the API: `Sum`, `Average`, `p99`, `tm90`, …
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Statistic(String);

impl Statistic {
    /// Checks the name's form.
    pub fn try_new(name: &str) -> Result<Self, String> {
        const PLAIN: [&str; 6] = ["Sum", "Average", "Maximum", "Minimum", "SampleCount", "IQM"];
        const EXTENDED: [&str; 6] = ["p", "tm", "wm", "tc", "ts", "pr"];
        let behind_letters = name.trim_start_matches(|c: char| c.is_ascii_lowercase());
        let letters = name.strip_suffix(behind_letters).unwrap_or_default();
        let is_percentile = EXTENDED.contains(&letters) && behind_letters.parse::<f64>().is_ok_and(|p| p <= 100.0);
        let is_range = matches!(letters, "") && is_extended_range(name);
        if PLAIN.contains(&name) || is_percentile || is_range {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!("{name:.64?} is no CloudWatch statistic such as Sum, Average, Maximum or p99"))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `TM(10%:90%)`, `PR(:300)` and their like.
fn is_extended_range(name: &str) -> bool {
    let Some((kind, behind)) = name.split_once('(') else { return false };
    ["TM", "WM", "TC", "TS", "PR"].contains(&kind)
        && behind.ends_with(')')
        && behind.contains(':')
        && behind.trim_end_matches(')').chars().all(|c| c.is_ascii_digit() || ".:%".contains(c))
}

impl TryFrom<String> for Statistic {
    type Error = String;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::try_new(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_as_cloudwatch_names_them() {
        for name in ["Sum", "Average", "SampleCount", "p99", "p99.9", "tm90", "TM(10%:90%)", "PR(:300)", "IQM"] {
            assert!(Statistic::try_new(name).is_ok(), "{name}");
        }
        for name in ["", "sum", "p", "p101", "Median", "TM()", "x99"] {
            assert!(Statistic::try_new(name).is_err(), "{name}");
        }
    }
}
