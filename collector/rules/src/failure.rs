use std::fmt;

use tenantscope_model::EvaluateError;

/// The longest text that is kept of an error, which may name series.
const MAX_TEXT_BYTES: usize = 8 << 10;

/// Why a rule has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    cause: Cause,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// There is no answer over this data, such as where series match twice.
    Data,
    /// There is too much of it for an evaluation.
    Limit,
    /// More comes of it than the group allows.
    Results,
    /// The data has no part in it.
    Other,
}

impl Failure {
    pub(crate) fn of_data(text: &str) -> Self {
        Self { cause: Cause::Data, text: text.to_owned() }
    }

    pub(crate) fn of_results(limit: usize, count: usize, what: &str) -> Self {
        Self { cause: Cause::Results, text: format!("exceeded limit of {limit} with {count} {what}") }
    }

    /// Whether other data may have an answer.
    pub(crate) fn is_of_data(&self) -> bool {
        self.cause != Cause::Other
    }

    /// Whether more came of it than the group allows.
    pub(crate) fn is_of_results(&self) -> bool {
        self.cause == Cause::Results
    }

    /// The value of a label.
    pub(crate) fn reason(&self) -> &'static str {
        match self.cause {
            Cause::Data => "data",
            Cause::Limit | Cause::Results => "limit",
            Cause::Other => "other",
        }
    }
}

impl From<EvaluateError> for Failure {
    fn from(error: EvaluateError) -> Self {
        let cause = match &error {
            EvaluateError::Execution(_) => Cause::Data,
            EvaluateError::Limit(_) => Cause::Limit,
            EvaluateError::Expression(_) | EvaluateError::Unavailable(_) => Cause::Other,
        };
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        Self { cause, text }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
