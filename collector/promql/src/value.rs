use std::sync::Arc;

use tenantscope_model::{Histogram, HistogramSample, Labels, Sample};

/// A float or a native histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum PointValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// The labels.
    pub labels: Labels,
    /// The time of evaluation, in milliseconds.
    pub t_ms: i64,
    /// The value.
    pub value: PointValue,
}

/// One series of a range answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The labels.
    pub labels: Labels,
    /// Floats in time order.
    pub floats: Vec<Sample>,
    /// Native histograms in time order.
    pub histograms: Vec<HistogramSample>,
}

/// What an expression evaluated to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number at a time.
    Scalar(Sample),
    /// A string at a time.
    String {
        /// The time of evaluation, in milliseconds.
        t_ms: i64,
        /// The string.
        text: Arc<str>,
    },
    /// An instant vector, in the order that the expression gives.
    Vector(Vec<Element>),
    /// A range vector, sorted by labels.
    Matrix(Vec<Series>),
}

/// A value, and what its reader should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// `PromQL warning: …`, sorted.
    pub warnings: Vec<String>,
    /// `PromQL info: …`, sorted.
    pub infos: Vec<String>,
}
