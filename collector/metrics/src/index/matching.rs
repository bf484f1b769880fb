//! From a scope and matchers to series.
//!
//! The scope's postings come first, then what is cheap: values that are known, presence, absence. What is left are
//! expressions. Where few series are left, the values of these alone are tested; else the label's distinct values, a
//! piece at a time, so that the lock is never held while expressions run.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use roaring::RoaringBitmap;
use tenantscope_model::{MatchOp, Matcher, QueryBudget, Scope, SelectError};

use super::Index;
use crate::series::Series;

/// Values tested between two looks at the budget, and copied under one lock.
const PIECE: usize = 4096;

/// What a matcher asks of its label.
#[derive(Debug, PartialEq, Eq)]
enum Condition<'a> {
    /// Nothing.
    Any,
    /// One of these values.
    OneOf(Vec<&'a str>),
    /// None of these values; the label may be absent.
    NoneOf(Vec<&'a str>),
    Present,
    Absent,
    /// Values must be tested.
    Test,
}

fn condition(matcher: &Matcher) -> Condition<'_> {
    let value = matcher.value();
    match matcher.op() {
        MatchOp::Equal if value.is_empty() => Condition::Absent,
        MatchOp::Equal => Condition::OneOf(vec![value]),
        MatchOp::NotEqual if value.is_empty() => Condition::Present,
        MatchOp::NotEqual => Condition::NoneOf(vec![value]),
        MatchOp::Regex => match value {
            "" => Condition::Absent,
            ".*" => Condition::Any,
            ".+" => Condition::Present,
            _ => literals(value).map_or(Condition::Test, Condition::OneOf),
        },
        MatchOp::NotRegex => match value {
            "" => Condition::Present,
            ".*" => Condition::OneOf(Vec::new()),
            ".+" => Condition::Absent,
            _ => literals(value).map_or(Condition::Test, Condition::NoneOf),
        },
    }
}

const META: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$', '|'];

/// The alternatives of an expression that is nothing but literals, none of them empty.
fn literals(expression: &str) -> Option<Vec<&str>> {
    let plain = |part: &str| !part.is_empty() && !part.contains(META);
    let parts: Vec<&str> = expression.split('|').collect();
    parts.iter().all(|part| plain(part)).then_some(parts)
}

/// What every value that fulfils the expression starts with.
fn prefix(expression: &str) -> &str {
    if expression.contains('|') {
        return "";
    }
    let Some(at) = expression.find(META) else { return expression };
    let (before, rest) = expression.split_at(at);
    if !rest.starts_with(['?', '*', '{']) {
        return before;
    }
    // The last character may occur not at all.
    let last = before.char_indices().next_back().map_or(0, |(at, _)| at);
    before.split_at(last).0
}

/// The series within the scope that fulfil all matchers, by rising number.
pub(crate) fn find(
    index: &RwLock<Index>,
    scope: &Scope,
    matchers: &[Matcher],
    budget: &QueryBudget,
) -> Result<Vec<Arc<Series>>, SelectError> {
    let mut tests: Vec<&Matcher> = Vec::new();
    let mut ids = narrowed(&index.read(), scope, matchers, &mut tests);
    let mut own_values: Vec<&Matcher> = Vec::new();
    for matcher in tests {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        if (ids.len() as usize) < index.read().value_count(matcher.name()) {
            own_values.push(matcher);
        } else {
            narrow_by_values(index, matcher, &mut ids, budget)?;
        }
    }
    resolve(index, &ids, &own_values, budget)
}

/// The scope and all that needs no test; the matchers that do are put into `tests`.
fn narrowed<'a>(index: &Index, scope: &Scope, matchers: &'a [Matcher], tests: &mut Vec<&'a Matcher>) -> RoaringBitmap {
    let mut ids = index.within(scope);
    for matcher in matchers {
        let name = matcher.name();
        match condition(matcher) {
            Condition::Any => {}
            Condition::OneOf(values) => {
                let mut with = RoaringBitmap::new();
                values.iter().for_each(|value| index.add_value(name, value, &mut with));
                ids &= with;
            }
            Condition::NoneOf(values) => {
                let postings = values.iter().filter_map(|value| index.postings(name, value));
                postings.for_each(|postings| postings.remove_from(&mut ids));
            }
            Condition::Present => match index.present(name) {
                Some(present) => ids &= present,
                None => ids.clear(),
            },
            Condition::Absent => {
                if let Some(present) = index.present(name) {
                    ids -= present;
                }
            }
            Condition::Test => tests.push(matcher),
        }
    }
    ids
}

/// Tests the label's distinct values and keeps the series that have one which fulfils the matcher, or none at all where
/// absence does.
fn narrow_by_values(
    index: &RwLock<Index>,
    matcher: &Matcher,
    ids: &mut RoaringBitmap,
    budget: &QueryBudget,
) -> Result<(), SelectError> {
    let absent_too = matcher.matches_absent();
    let start = if matcher.op() == MatchOp::Regex && !absent_too { prefix(matcher.value()) } else { "" };
    let mut concerned = RoaringBitmap::new();
    let mut from: Option<Arc<str>> = None;
    loop {
        let bound = from.as_deref().map_or(Bound::Included(start), Bound::Excluded);
        let mut piece = index.read().values_from(matcher.name(), bound, PIECE);
        from = piece.last().map(Arc::clone);
        let past_prefix = from.as_ref().is_none_or(|last| !last.starts_with(start) && **last > *start);
        // Of few values that fulfil, or few that do not, the postings are joined.
        piece.retain(|value| matcher.matches(value) != absent_too);
        let locked = index.read();
        piece.iter().for_each(|value| locked.add_value(matcher.name(), value, &mut concerned));
        drop(locked);
        if past_prefix {
            break;
        }
        budget.check()?;
    }
    if absent_too {
        *ids -= concerned;
    } else {
        *ids &= concerned;
    }
    Ok(())
}

/// A series with its values of the labels that are tested.
type WithValues = (Arc<Series>, Vec<Option<Arc<str>>>);

/// The series themselves, less those whose own values do not fulfil a matcher.
fn resolve(
    index: &RwLock<Index>,
    ids: &RoaringBitmap,
    tests: &[&Matcher],
    budget: &QueryBudget,
) -> Result<Vec<Arc<Series>>, SelectError> {
    let mut found: Vec<Arc<Series>> = Vec::with_capacity(ids.len() as usize);
    let mut known: Vec<HashMap<Option<Arc<str>>, bool>> = tests.iter().map(|_| HashMap::new()).collect();
    let mut left = ids.iter();
    loop {
        let piece: Vec<WithValues> = {
            let locked = index.read();
            let values = |series: &Series| {
                tests.iter().map(|matcher| locked.value_of(series, matcher.name()).map(Arc::clone)).collect()
            };
            let piece = left.by_ref().take(PIECE).filter_map(|id| locked.get(id));
            piece.map(|series| (Arc::clone(series), values(series))).collect()
        };
        if piece.is_empty() && left.len() == 0 {
            return Ok(found);
        }
        for (series, values) in piece {
            let fulfils = tests.iter().zip(&mut known).zip(values).all(|((matcher, known), value)| {
                *known.entry(value).or_insert_with_key(|value| matcher.matches(value.as_deref().unwrap_or_default()))
            });
            if fulfils {
                found.push(series);
            }
        }
        budget.check()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternations_of_literals_need_no_test() {
        let matcher = Matcher::try_new("a", MatchOp::Regex, "b|c-d").unwrap();
        assert_eq!(condition(&matcher), Condition::OneOf(vec!["b", "c-d"]));
        let with_empty = Matcher::try_new("a", MatchOp::Regex, "b|").unwrap();
        assert_eq!(condition(&with_empty), Condition::Test);
    }

    #[test]
    fn a_prefix_ends_before_what_may_not_occur() {
        assert_eq!(prefix("abc.*"), "abc");
        assert_eq!(prefix("abc?d"), "ab");
        assert_eq!(prefix("ä*"), "");
        assert_eq!(prefix("a|b.*"), "");
        assert_eq!(prefix("(?i)a"), "");
    }
}
