//! `info()`: adds the labels of info series to other series, by the identifying labels `instance` and `job`.
//!
//! The info series are those of the time at which the first selector of the argument looks. Of several with the same
//! name and identity the one with the newest sample counts. Series of different tenants are never joined.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tenantscope_model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::aggregate::STAMPED;
use crate::ast::{At, Call, Expr, ExprKind, VectorSelector};
use crate::binary::braces;
use crate::column::{Cells, Column, Grid, Sink};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::held::Collected;
use crate::pace::HISTOGRAM_WORK;
use crate::source::Content;

const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// So many values of an identifying label are asked for by name; more are filtered after reading.
const MAX_NAMED_VALUES: usize = 500;

type Identity = [Option<Arc<str>>; 2];

fn identity(labels: &Labels) -> Identity {
    IDENTIFYING.map(|name| labels.shared(name).cloned())
}

/// What the second argument asks for.
struct Wanted {
    /// Which series are info series.
    names: Vec<Matcher>,
    /// Which of their labels are added; all, if there is none.
    data: Vec<Matcher>,
}

impl Wanted {
    fn of(selector: Option<&Expr>) -> Result<Self, EngineError> {
        let matchers = match selector.map(|argument| &argument.unparenthesized().kind) {
            None => Vec::new(),
            Some(ExprKind::Vector(selector)) => selector.matchers.clone(),
            Some(_) => return Err(EngineError::execution("second argument to info must be a label selector")),
        };
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) =
            matchers.into_iter().partition(|matcher| matcher.name() == METRIC_NAME);
        let chooses = |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if !names.iter().any(chooses) {
            names.push(regex(METRIC_NAME, ".+_info")?);
        }
        Ok(Self { names, data })
    }

    /// Whether a series is an info series itself.
    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|matcher| matcher.matches(labels.metric_name()))
    }

    fn is_wanted(&self, label: &str) -> bool {
        label != METRIC_NAME && (self.data.is_empty() || self.data.iter().any(|matcher| matcher.name() == label))
    }

    /// Whether a series without info series stays.
    fn keeps_unmatched(&self) -> bool {
        self.data.iter().all(Matcher::matches_absent)
    }
}

fn regex(name: &str, pattern: &str) -> Result<Matcher, EngineError> {
    Matcher::try_new(name, MatchOp::Regex, pattern).map_err(|error| EngineError::execution(error.to_string()))
}

impl Evaluation<'_> {
    pub(crate) fn info(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let wanted = Wanted::of(call.arguments.get(1))?;
        let argument = self.argument(call, 0)?;
        let Collected { columns: base, held: _held } = self.collect(argument, grid)?;
        let Collected { columns: infos, held: _held_infos } = self.info_columns(&wanted, argument, &base, grid)?;
        let mut by_identity: HashMap<Identity, Vec<&Column>> = HashMap::new();
        for info in &infos {
            by_identity.entry(identity(&info.labels)).or_default().push(info);
        }
        for column in base {
            self.budget.check()?;
            if wanted.is_info(&column.labels) {
                sink(column)?;
                continue;
            }
            let found = by_identity.get(&identity(&column.labels)).map(Vec::as_slice).unwrap_or_default();
            self.enriched(&column, found, &wanted)?.hand_on(sink)?;
        }
        Ok(())
    }

    /// The times of the samples of the info series that may belong to a series of the base.
    fn info_columns(
        &self,
        wanted: &Wanted,
        argument: &Expr,
        base: &[Column],
        grid: &Grid,
    ) -> Result<Collected<'_>, EngineError> {
        let mut infos = Collected::new(self.budget.hold());
        let enrichable: Vec<&Labels> =
            base.iter().map(|column| &column.labels).filter(|labels| !wanted.is_info(labels)).collect();
        let mut matchers: Vec<Matcher> = wanted.names.iter().chain(&wanted.data).cloned().collect();
        let mut any_identified = false;
        for name in IDENTIFYING {
            let values: BTreeSet<&str> = enrichable.iter().filter_map(|labels| labels.get(name)).collect();
            any_identified |= !values.is_empty();
            if (1..=MAX_NAMED_VALUES).contains(&values.len()) {
                let escaped: Vec<String> = values.into_iter().map(regex::escape).collect();
                matchers.push(regex(name, &escaped.join("|"))?);
            }
        }
        if !any_identified {
            return Ok(infos);
        }
        let (at, offset_ms) = reference_time(argument);
        let selector = VectorSelector { matchers, at, offset_ms, ..VectorSelector::default() };
        self.instant_columns(&selector, grid, Content::FloatTimes, &mut |column| {
            if column.cells.has_histograms() {
                let labels = braces(&column.labels);
                let message = format!("this should be an info metric, with float samples: {labels}");
                return Err(EngineError::execution(message));
            }
            infos.push(column)?;
            self.check_cells(infos.columns.len(), grid.count)
        })?;
        Ok(infos)
    }

    /// One column for each set of added labels that holds at some time.
    fn enriched(&self, column: &Column, infos: &[&Column], wanted: &Wanted) -> Result<Collected<'_>, EngineError> {
        let tenant = column.labels.get(STAMPED);
        let of_tenant =
            |info: &&Column| tenant.is_none() || info.labels.get(STAMPED).is_none_or(|of| Some(of) == tenant);
        let infos: Vec<&Column> = infos.iter().copied().filter(of_tenant).collect();
        let mut outputs: BTreeMap<Labels, Column> = BTreeMap::new();
        let (mut held, pace) = (self.budget.hold(), self.pace());
        for (step, cell) in column.cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            pace.step(HISTOGRAM_WORK + infos.len())?;
            let newest = newest(&infos, step)?;
            if newest.is_empty() && !wanted.keeps_unmatched() {
                continue;
            }
            let labels = with_labels_of(&column.labels, &newest, wanted)?;
            if !outputs.contains_key(&labels) {
                let cells = Cells::absent(column.cells.len());
                let output = Column { labels: labels.clone(), drop_name: column.drop_name, cells };
                held.grow(output.held_bytes())?;
                outputs.insert(labels.clone(), output);
            }
            if let Some(output) = outputs.get_mut(&labels) {
                output.cells.set(step, cell);
            }
        }
        Ok(Collected { columns: outputs.into_values().collect(), held })
    }
}

/// When the first selector of an expression looks: at the innermost `@` of it and the subqueries around it, moved by
/// the offsets up to there.
fn reference_time(expr: &Expr) -> (Option<At>, i64) {
    first_selector(expr).unwrap_or((None, 0))
}

fn first_selector(expr: &Expr) -> Option<(Option<At>, i64)> {
    match &expr.kind {
        ExprKind::Vector(selector) => Some((selector.at, selector.offset_ms)),
        ExprKind::Matrix(matrix) => Some((matrix.selector.at, matrix.selector.offset_ms)),
        ExprKind::Subquery(subquery) => match first_selector(&subquery.expr)? {
            (None, offset_ms) => Some((subquery.at, offset_ms.saturating_add(subquery.offset_ms))),
            fixed => Some(fixed),
        },
        ExprKind::Aggregate(aggregate) => {
            first_selector(&aggregate.expr).or_else(|| aggregate.parameter.as_deref().and_then(first_selector))
        }
        _ => expr.children().into_iter().find_map(first_selector),
    }
}

/// Of the info series of each name, the one with the newest sample at a step.
fn newest<'c>(infos: &[&'c Column], step: usize) -> Result<Vec<&'c Column>, EngineError> {
    let mut newest: BTreeMap<&str, (&Column, f64)> = BTreeMap::new();
    for info in infos {
        let Some(seconds) = info.cells.float(step) else { continue };
        match newest.get(info.labels.metric_name()) {
            Some((_, known)) if *known > seconds => continue,
            Some((existing, known)) if *known == seconds => {
                let (old, new) = (braces(&existing.labels), braces(&info.labels));
                let ms = (seconds * 1000.0).round() as i64;
                return Err(EngineError::execution(format!(
                    "found duplicate series for info metric: existing {old} @ {ms}, new {new} @ {ms}"
                )));
            }
            _ => drop(newest.insert(info.labels.metric_name(), (info, seconds))),
        }
    }
    Ok(newest.into_values().map(|(info, _)| info).collect())
}

fn with_labels_of(base: &Labels, infos: &[&Column], wanted: &Wanted) -> Result<Labels, EngineError> {
    let mut added: BTreeMap<&Arc<str>, &Arc<str>> = BTreeMap::new();
    for label in infos.iter().flat_map(|info| &info.labels).filter(|label| wanted.is_wanted(&label.name)) {
        if added.get(&label.name).is_some_and(|known| **known != label.value) {
            return Err(EngineError::execution(format!("conflicting label: {}", label.name)));
        }
        if base.get(&label.name).is_none() {
            added.insert(&label.name, &label.value);
        }
    }
    let mut builder = base.to_builder();
    for (name, value) in added {
        builder.set(Arc::clone(name), Arc::clone(value));
    }
    Ok(builder.build())
}
