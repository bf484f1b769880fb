//! From a scope and matchers to series.
//!
//! The scope's postings come first, then what is cheap: values that are known, presence, absence, the smallest set
//! first. What is left are prefixes and expressions. Where few series are left, the values of these alone are tested;
//! else the label's values that can fulfil the expression, without the lock. What a negative matcher refuses is taken
//! off, rather than all that it allows looked up.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use roaring::RoaringBitmap;
use tenantscope_model::{MatchOp, Matcher, QueryBudget, Scope, SelectError};

use super::expression::Expression;
use super::postings::PostingsRef;
use super::symbols::Symbol;
use super::{Index, Name};
use crate::series::Series;

/// Values tested between two looks at the budget, and series looked at under one lock.
const PIECE: usize = 4096;

/// What a matcher asks of its label.
#[derive(Debug)]
struct Condition<'a> {
    matcher: &'a Matcher,
    /// The values that it names, or refuses.
    values: Expression,
    is_negative: bool,
    /// Whether it names, or refuses, series without the label.
    with_absent: bool,
}

impl<'a> Condition<'a> {
    fn of(matcher: &'a Matcher) -> Self {
        let is_negative = matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
        let values = match matcher.op() {
            MatchOp::Equal | MatchOp::NotEqual => Expression::Values(vec![matcher.value().to_owned()]),
            MatchOp::Regex | MatchOp::NotRegex => Expression::of(matcher.value()),
        };
        Self { matcher, values, is_negative, with_absent: matcher.matches_absent() != is_negative }
    }

    /// Whether a value is one of those that it names or refuses.
    fn names(&self, value: &str) -> bool {
        self.matcher.matches(value) != self.is_negative
    }

    /// Narrows the selection by the series that have such a value.
    fn apply(&self, index: &Index, having: &RoaringBitmap, ids: &mut RoaringBitmap) {
        if self.is_negative {
            if self.with_absent {
                keep_present(index, self.matcher.name(), ids);
            }
            *ids -= having;
        } else if self.with_absent {
            let kept = having & &*ids;
            if let Some((_, known)) = index.name(self.matcher.name()) {
                *ids -= &known.present;
            }
            *ids |= kept;
        } else {
            *ids &= having;
        }
    }
}

fn keep_present(index: &Index, name: &str, ids: &mut RoaringBitmap) {
    match index.name(name) {
        Some((_, known)) => *ids &= &known.present,
        None => ids.clear(),
    }
}

/// The series within the scope that fulfil all matchers, by rising number.
pub(crate) fn find(
    index: &RwLock<Index>,
    scope: &Scope,
    matchers: &[Matcher],
    budget: &QueryBudget,
) -> Result<Vec<Arc<Series>>, SelectError> {
    let conditions: Vec<Condition<'_>> = matchers.iter().map(Condition::of).collect();
    let (cheap, mut dear): (Vec<Condition<'_>>, Vec<Condition<'_>>) =
        conditions.into_iter().partition(|one| matches!(one.values, Expression::Every | Expression::Values(_)));
    dear.sort_by_key(|one| !matches!(one.values, Expression::Prefixes(_)));
    let (mut ids, _pin) = {
        let locked = index.read();
        (narrowed(&locked, scope, &cheap), locked.symbols.pin())
    };
    let mut own_values: Vec<Condition<'_>> = Vec::new();
    for condition in dear {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let value_count = index.read().name(condition.matcher.name()).map_or(0, |(_, known)| known.values.len());
        if (ids.len() as usize) < value_count {
            own_values.push(condition);
        } else {
            let having = having_values(index, &condition, budget)?;
            condition.apply(&index.read(), &having, &mut ids);
        }
    }
    resolve(index, &ids, &own_values, budget)
}

/// The scope and all that needs no look at many values.
fn narrowed(index: &Index, scope: &Scope, conditions: &[Condition<'_>]) -> RoaringBitmap {
    let mut sets: Vec<Cow<'_, RoaringBitmap>> = Vec::new();
    match scope {
        Scope::All => {}
        Scope::Tenants(_) => sets.push(Cow::Owned(index.within(scope))),
    }
    let having: Vec<Cow<'_, RoaringBitmap>> = conditions.iter().map(|one| having_known(index, one)).collect();
    let positive = |one: &Condition<'_>| !one.is_negative && !one.with_absent;
    for (condition, having) in conditions.iter().zip(&having) {
        if positive(condition) {
            sets.push(Cow::Borrowed(having));
        }
    }
    sets.sort_by_key(|set| set.len());
    let mut sets = sets.into_iter();
    let mut ids = sets.next().map_or_else(|| index.all.clone(), Cow::into_owned);
    sets.for_each(|set| ids &= &*set);
    for (condition, having) in conditions.iter().zip(&having) {
        if !positive(condition) {
            condition.apply(index, having, &mut ids);
        }
    }
    ids
}

/// The series that have one of the values that the condition names.
fn having_known<'a>(index: &'a Index, condition: &Condition<'_>) -> Cow<'a, RoaringBitmap> {
    let name = condition.matcher.name();
    match &condition.values {
        Expression::Values(values) => match &values[..] {
            [only] => match index.postings(name, only) {
                PostingsRef::Many(many) => Cow::Borrowed(many),
                few => Cow::Owned(union([few].into_iter())),
            },
            several => Cow::Owned(union(several.iter().map(|value| index.postings(name, value)))),
        },
        _ => index.name(name).map_or_else(Cow::default, |(_, known)| Cow::Borrowed(&known.present)),
    }
}

/// All that one of the postings has. Single series are sorted first, since a bitmap takes them in best by rising number.
fn union<'a>(postings: impl Iterator<Item = PostingsRef<'a>>) -> RoaringBitmap {
    let mut all = RoaringBitmap::new();
    let mut single = Vec::new();
    for one in postings {
        match one {
            PostingsRef::One(id) => single.push(id),
            PostingsRef::Few(ids) => single.extend_from_slice(ids),
            other => other.add_to(&mut all),
        }
    }
    single.sort_unstable();
    single.dedup();
    // Rising, so it is never refused.
    all | RoaringBitmap::from_sorted_iter(single).unwrap_or_default()
}

/// The same where many values must be looked at, some under each lock; expressions run without it.
fn having_values(
    index: &RwLock<Index>,
    condition: &Condition<'_>,
    budget: &QueryBudget,
) -> Result<RoaringBitmap, SelectError> {
    let (name, candidates, texts) = {
        let locked = index.read();
        let Some((name, known)) = locked.name(condition.matcher.name()) else { return Ok(RoaringBitmap::new()) };
        let candidates = candidates(&locked, name, known, &condition.values);
        if matches!(condition.values, Expression::Prefixes(_)) {
            (name, candidates, None)
        } else {
            (name, candidates, Some(locked.symbols.snapshot()))
        }
    };
    let mut having = RoaringBitmap::new();
    for piece in candidates.chunks(PIECE * 8) {
        let fulfil: Cow<'_, [Symbol]> = match &texts {
            None => Cow::Borrowed(piece),
            Some(texts) => piece.iter().copied().filter(|value| condition.names(texts.get(*value))).collect(),
        };
        let locked = index.read();
        having |= union(fulfil.iter().map(|value| locked.symbols.postings(name, *value)));
        drop(locked);
        budget.check()?;
    }
    Ok(having)
}

/// The values that can fulfil an expression.
fn candidates(index: &Index, name: Symbol, known: &Name, values: &Expression) -> Vec<Symbol> {
    match values {
        Expression::Prefixes(prefixes) | Expression::Unknown(prefixes) if !prefixes.is_empty() => {
            let each = prefixes.iter().flat_map(|prefix| known.values.with_prefix(prefix, &index.symbols));
            let mut all: Vec<Symbol> = each.collect();
            all.sort_unstable();
            all.dedup();
            all
        }
        _ => index.values_of(name),
    }
}

/// The series themselves, less those whose own values do not fulfil a condition.
fn resolve(
    index: &RwLock<Index>,
    ids: &RoaringBitmap,
    tests: &[Condition<'_>],
    budget: &QueryBudget,
) -> Result<Vec<Arc<Series>>, SelectError> {
    let mut found: Vec<Arc<Series>> = Vec::with_capacity(ids.len() as usize);
    let mut known: Vec<HashMap<Option<Symbol>, bool>> = tests.iter().map(|_| HashMap::new()).collect();
    let mut left = ids.iter();
    while left.len() > 0 {
        let mut piece: Vec<Arc<Series>> = Vec::with_capacity(PIECE.min(left.len()));
        // Of each test the values of these series, and the texts of those that were not tested yet.
        let mut values: Vec<Vec<Option<Symbol>>> = Vec::with_capacity(tests.len());
        let mut new: Vec<HashMap<Symbol, String>> = Vec::with_capacity(tests.len());
        {
            let locked = index.read();
            piece.extend(left.by_ref().take(PIECE).filter_map(|id| locked.get(id)).map(Arc::clone));
            for (test, known) in tests.iter().zip(&known) {
                let name = locked.symbols.find(test.matcher.name());
                let each = piece.iter().map(|series| name.and_then(|name| series.value(name)));
                let each: Vec<Option<Symbol>> = each.collect();
                let untested = each.iter().flatten().filter(|value| !known.contains_key(&Some(**value)));
                new.push(untested.map(|value| (*value, locked.symbols.text(*value).to_owned())).collect());
                values.push(each);
            }
        }
        let mut stays = vec![true; piece.len()];
        for (((test, known), values), new) in tests.iter().zip(&mut known).zip(values).zip(new) {
            known.extend(new.into_iter().map(|(value, text)| (Some(value), test.matcher.matches(&text))));
            known.entry(None).or_insert_with(|| test.matcher.matches_absent());
            for (stays, value) in stays.iter_mut().zip(values) {
                *stays &= known.get(&value).copied().unwrap_or_default();
            }
        }
        found.extend(piece.into_iter().zip(stays).filter(|(_, stays)| *stays).map(|(series, _)| series));
        budget.check()?;
    }
    Ok(found)
}
