use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of telemetry. Each has a journal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Metrics.
    Metrics,
    /// Logs.
    Logs,
    /// Spans (traces).
    Spans,
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Spans];

    /// `metrics`, `logs` or `spans`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Spans => "spans",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
