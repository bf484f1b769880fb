use datafusion::logical_expr::Operator;
use serde_json::Value;
use tenantscope_model::Matcher;

use crate::answer::TraceSummary;
use crate::spans::SpanRow;
use crate::{QueryError, attributes};

/// What a span must be.
#[derive(Debug, Clone)]
pub(crate) enum Filter {
    /// Anything.
    All,
    One(Condition),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
}

/// One field compared with one value.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) field: Field,
    pub(crate) compared: Compared,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Service,
    Tenant,
    Account,
    Region,
    TraceId,
    /// Nanoseconds.
    Duration,
    Status,
    StatusMessage,
    Kind,
    /// An attribute of the span.
    Span(String),
    /// An attribute of the resource.
    Resource(String),
    /// An attribute of the span, else of the resource.
    Either(String),
    /// Nanoseconds.
    TraceDuration,
    RootName,
    RootService,
}

/// With what, and how.
#[derive(Debug, Clone)]
pub(crate) enum Compared {
    Text(Matcher),
    Number(Order, f64),
    /// `!= nil`, or `= nil` where false.
    Present(bool),
}

/// `=`, `<` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    pub(crate) fn operator(self) -> Operator {
        match self {
            Self::Equal => Operator::Eq,
            Self::NotEqual => Operator::NotEq,
            Self::Less => Operator::Lt,
            Self::LessOrEqual => Operator::LtEq,
            Self::Greater => Operator::Gt,
            Self::GreaterOrEqual => Operator::GtEq,
        }
    }

    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Filter {
    pub(crate) fn holds(&self, span: &SpanRow) -> bool {
        match self {
            Self::All => true,
            Self::One(condition) => condition.holds(span),
            Self::And(left, right) => left.holds(span) && right.holds(span),
            Self::Or(left, right) => left.holds(span) || right.holds(span),
            Self::Not(inner) => !inner.holds(span),
        }
    }

    /// Conditions that all must hold.
    pub(crate) fn conjuncts(&self) -> Vec<&Condition> {
        match self {
            Self::One(condition) => vec![condition],
            Self::And(left, right) => left.conjuncts().into_iter().chain(right.conjuncts()).collect(),
            Self::All | Self::Or(..) | Self::Not(_) => Vec::new(),
        }
    }

    /// Apart into what is known of a span and what only the whole trace tells.
    pub(crate) fn split(self) -> Result<(Self, Vec<Condition>), QueryError> {
        match self {
            Self::One(condition) if condition.field.is_of_trace() => Ok((Self::All, vec![condition])),
            Self::And(left, right) => {
                let ((left, mut of_trace), (right, more)) = (left.split()?, right.split()?);
                of_trace.extend(more);
                Ok((Self::And(left.into(), right.into()), of_trace))
            }
            other if other.names_trace() => Err(QueryError::Invalid(
                "traceDuration, rootName and rootServiceName can only be joined by && to the rest".to_owned(),
            )),
            other => Ok((other, Vec::new())),
        }
    }

    fn names_trace(&self) -> bool {
        match self {
            Self::All => false,
            Self::One(condition) => condition.field.is_of_trace(),
            Self::And(left, right) | Self::Or(left, right) => left.names_trace() || right.names_trace(),
            Self::Not(inner) => inner.names_trace(),
        }
    }
}

impl Field {
    fn is_of_trace(&self) -> bool {
        matches!(self, Self::TraceDuration | Self::RootName | Self::RootService)
    }

    /// The field's text; `None` where the span lacks the attribute.
    pub(crate) fn text(&self, span: &SpanRow) -> Option<String> {
        let of_span = |name: &str| attribute(&span.attributes, name);
        let of_resource = |name: &str| attribute(&span.resource_attributes, name);
        match self {
            Self::Name => Some(span.name.clone()),
            Self::Service => Some(span.service.clone()),
            Self::Tenant => Some(span.tenant.clone()),
            Self::Account => Some(span.account.clone()),
            Self::Region => Some(span.region.clone()),
            Self::TraceId => Some(span.trace_id.clone()),
            Self::Status => Some(span.status().to_owned()),
            Self::StatusMessage => Some(span.status_message.clone()),
            Self::Span(name) => of_span(name),
            Self::Resource(name) => of_resource(name),
            Self::Either(name) => of_span(name).or_else(|| of_resource(name)),
            Self::Duration | Self::Kind | Self::TraceDuration | Self::RootName | Self::RootService => None,
        }
    }

    fn number(&self, span: &SpanRow) -> Option<f64> {
        match self {
            Self::Duration => Some(span.duration_ns as f64),
            Self::Status => Some(f64::from(span.status_code)),
            Self::Kind => Some(f64::from(span.kind)),
            other => other.text(span)?.parse().ok(),
        }
    }
}

fn attribute(json: &str, name: &str) -> Option<String> {
    let Ok(Value::Object(map)) = serde_json::from_str(json) else { return None };
    map.get(name).map(attributes::json_text)
}

impl Condition {
    fn holds(&self, span: &SpanRow) -> bool {
        match &self.compared {
            // As in Tempo, a span without the attribute fulfils neither `=` nor `!=`.
            Compared::Text(matcher) => self.field.text(span).is_some_and(|text| matcher.matches(&text)),
            Compared::Number(order, wanted) => self.field.number(span).is_some_and(|found| order.holds(found, *wanted)),
            Compared::Present(wanted) => self.field.text(span).is_some() == *wanted,
        }
    }

    pub(crate) fn holds_for_trace(&self, trace: &TraceSummary) -> bool {
        match (&self.field, &self.compared) {
            (Field::TraceDuration, Compared::Number(order, wanted)) => order.holds(trace.duration_ns as f64, *wanted),
            (Field::RootName, Compared::Text(matcher)) => matcher.matches(&trace.root_name),
            (Field::RootService, Compared::Text(matcher)) => matcher.matches(&trace.root_service),
            _ => false,
        }
    }
}
