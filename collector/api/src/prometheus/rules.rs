//! `rules` and `alerts`: what the rule groups show within the scope.

use axum::extract::State;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tenantscope_model::Matcher;
use tenantscope_promql::parse;
use tenantscope_rules::{AlertView, GroupView, RuleView};

use super::PrometheusApi;
use super::answer::{ApiError, Success};
use super::body::body;
use super::form::Form;
use super::list::{Entry, Frame, ListPieces};
use super::write::string;
use crate::reader::Who;

/// The groups of one answer.
struct Groups {
    groups: Vec<GroupView>,
    group_next_token: Option<String>,
}

impl Entry for AlertView {
    fn write(&self, out: &mut Vec<u8>) {
        json(out, self);
    }

    fn held_bytes(&self) -> usize {
        let annotations =
            self.annotations.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>());
        size_of::<Self>() + self.labels.held_bytes() + annotations.sum::<usize>()
    }
}

/// A group as the answer has it.
struct Shown {
    group: GroupView,
    without_alerts: bool,
}

impl Entry for Shown {
    fn write(&self, out: &mut Vec<u8>) {
        if !self.without_alerts {
            return json(out, &self.group);
        }
        let mut group = serde_json::to_value(&self.group).unwrap_or_default();
        let rules = group.get_mut("rules").and_then(|rules| rules.as_array_mut()).into_iter().flatten();
        for alerts in rules.filter_map(|rule| rule.get_mut("alerts")) {
            *alerts = serde_json::Value::Null;
        }
        json(out, &group);
    }

    fn held_bytes(&self) -> usize {
        let rule = |rule: &RuleView| {
            let alerts = rule.alerts.iter().flatten().map(Entry::held_bytes);
            size_of::<RuleView>() + rule.query.len() + alerts.sum::<usize>()
        };
        size_of::<Self>() + self.group.rules.iter().map(rule).sum::<usize>()
    }
}

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    // These always serialize, and a vector always takes it.
    let _ = serde_json::to_writer(out, value);
}

/// Which groups and rules are wanted.
struct Wanted<'a> {
    form: &'a Form,
    kind: Option<&'static str>,
    sets: Vec<Vec<Matcher>>,
}

impl<'a> Wanted<'a> {
    fn of(form: &'a Form) -> Result<Self, ApiError> {
        form.readable()?;
        let sets = form.selectors().map_err(ApiError::BadData)?;
        let kind = match form.text("type").to_ascii_lowercase().as_str() {
            "" => None,
            "alert" => Some("alerting"),
            "record" => Some("recording"),
            other => return Err(ApiError::parameter("type", format_args!("not supported value {other:?}"))),
        };
        Ok(Self { form, kind, sets })
    }

    fn names(&self, parameter: &str, value: &str) -> bool {
        let mut given = self.form.values(parameter).peekable();
        given.peek().is_none() || given.any(|one| one == value)
    }

    fn group(&self, group: &GroupView) -> bool {
        self.names("rule_group[]", &group.name) && self.names("file[]", &group.file)
    }

    fn rule(&self, rule: &RuleView) -> bool {
        self.kind.is_none_or(|kind| rule.kind == kind)
            && self.names("rule_name[]", &rule.name)
            && (self.sets.is_empty() || self.sets.iter().any(|matchers| matches(rule, matchers)))
    }
}

/// A label that is a template has no value yet, so that nothing matches it.
fn matches(rule: &RuleView, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| {
        let value = rule.labels.get(matcher.name()).map_or("", String::as_str);
        !value.contains("{{") && matcher.matches(value)
    })
}

fn excludes_alerts(form: &Form) -> Result<bool, ApiError> {
    match form.text("exclude_alerts").to_ascii_lowercase().as_str() {
        "" | "0" | "f" | "false" => Ok(false),
        "1" | "t" | "true" => Ok(true),
        other => {
            let problem =
                format!("error converting exclude_alerts: strconv.ParseBool: parsing {other:?}: invalid syntax");
            Err(ApiError::parameter("exclude_alerts", problem))
        }
    }
}

/// How many groups an answer has, and with which it begins.
struct Page<'a> {
    size: usize,
    from: Option<&'a str>,
}

impl<'a> Page<'a> {
    fn of(form: &'a Form) -> Result<Option<Self>, ApiError> {
        let from = form.get("group_next_token");
        let Some(text) = form.get("group_limit") else {
            let problem = "group_limit needs to be present in order to paginate over the groups";
            return if from.is_some() { Err(ApiError::parameter("group_next_token", problem)) } else { Ok(None) };
        };
        let size: i32 = text.parse().map_err(|_| {
            let problem =
                format!("group_limit needs to be a valid number: strconv.ParseInt: parsing {text:?}: invalid syntax");
            ApiError::parameter("group_limit", problem)
        })?;
        match usize::try_from(size) {
            Ok(size) if size > 0 => Ok(Some(Self { size, from })),
            _ => Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
        }
    }
}

/// What names a group in a request for the next page.
fn token(group: &GroupView) -> String {
    hex::encode(Sha256::digest(format!("{};{}", group.file, group.name)))
}

/// Leaves one page, and the token of the next if there is one.
fn paged(mut groups: Vec<GroupView>, page: &Page<'_>, wanted: &Wanted<'_>) -> Result<Groups, ApiError> {
    if let Some(from) = page.from {
        let found = groups.iter().position(|group| token(group) == from);
        let problem = || {
            let problem = format!("invalid group_next_token '{from}'. were rule groups changed?");
            ApiError::parameter("group_next_token", problem)
        };
        groups.drain(..found.ok_or_else(problem)?);
    }
    let mut groups = filtered(groups, wanted);
    let next = groups.get(page.size).map(token);
    groups.truncate(page.size);
    Ok(Groups { groups, group_next_token: next })
}

fn filtered(mut groups: Vec<GroupView>, wanted: &Wanted<'_>) -> Vec<GroupView> {
    groups.retain(|group| wanted.group(group));
    for group in &mut groups {
        group.rules.retain(|rule| wanted.rule(rule));
    }
    groups.retain(|group| !group.rules.is_empty());
    groups
}

/// Expressions as PromQL's formatter prints them, whatever the rule files have.
fn printed(groups: &mut [GroupView]) {
    for rule in groups.iter_mut().flat_map(|group| &mut group.rules) {
        if let Ok(expr) = parse(&rule.query) {
            rule.query = expr.to_string();
        }
    }
}

pub(super) async fn rules(Who(reader): Who, State(api): State<PrometheusApi>, form: Form) -> Result<Success, ApiError> {
    Wanted::of(&form)?;
    Page::of(&form)?;
    let without_alerts = excludes_alerts(&form)?;
    let (rules, scope) = (api.rules.clone(), reader.scope.clone());
    api.run(&reader, move |run| {
        let wanted = Wanted::of(&form)?;
        let all = rules.map(|rules| rules.groups(&scope)).unwrap_or_default();
        let mut groups = match &Page::of(&form)? {
            Some(page) => paged(all, page, &wanted)?,
            None => Groups { groups: filtered(all, &wanted), group_next_token: None },
        };
        printed(&mut groups.groups);
        let mut after = b"]".to_vec();
        if let Some(token) = &groups.group_next_token {
            after.extend_from_slice(b",\"groupNextToken\":");
            string(&mut after, token);
        }
        after.push(b'}');
        let shown = groups.groups.into_iter().map(|group| Shown { group, without_alerts }).collect();
        let frame = Frame::within(b"{\"groups\":[", after);
        Ok(Success::written(body(ListPieces::try_new(shown, frame, Vec::new(), run.budget)?)))
    })
    .await
}

pub(super) async fn alerts(Who(reader): Who, State(api): State<PrometheusApi>) -> Result<Success, ApiError> {
    let (rules, scope) = (api.rules.clone(), reader.scope.clone());
    api.run(&reader, move |run| {
        let alerts = rules.map(|rules| rules.alerts(&scope)).unwrap_or_default();
        let frame = Frame::within(b"{\"alerts\":[", b"]}".to_vec());
        Ok(Success::written(body(ListPieces::try_new(alerts, frame, Vec::new(), run.budget)?)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule's name, kind and labels.
    type Row<'a> = (&'a str, &'static str, &'a [(&'a str, &'a str)]);

    fn group(name: &str, rules: &[Row<'_>]) -> GroupView {
        let rule = |(name, kind, labels): &Row<'_>| RuleView {
            kind,
            state: None,
            name: (*name).to_owned(),
            query: String::new(),
            duration: None,
            keep_firing_for: None,
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            annotations: None,
            alerts: None,
            health: "ok",
            last_error: String::new(),
            evaluation_time: 0.0,
            last_evaluation: None,
        };
        GroupView {
            name: name.to_owned(),
            file: "f.yaml".to_owned(),
            rules: rules.iter().map(rule).collect(),
            interval: 1.0,
            limit: 0,
            evaluation_time: 0.0,
            last_evaluation: None,
            missed_evaluations: 0,
        }
    }

    fn all() -> Vec<GroupView> {
        vec![
            group("a", &[("one", "recording", &[]), ("Two", "alerting", &[("severity", "page")])]),
            group("b", &[("Three", "alerting", &[("severity", "{{ $labels.x }}")])]),
            group("c", &[("Four", "alerting", &[("severity", "page")])]),
        ]
    }

    fn shown(query: &str) -> (Vec<String>, Option<String>) {
        let form = Form::of(query);
        let wanted = Wanted::of(&form).unwrap();
        let groups = match Page::of(&form).unwrap() {
            Some(page) => paged(all(), &page, &wanted).unwrap(),
            None => Groups { groups: filtered(all(), &wanted), group_next_token: None },
        };
        let names = groups.groups.iter().flat_map(|group| &group.rules).map(|rule| rule.name.clone());
        (names.collect(), groups.group_next_token)
    }

    #[test]
    fn rules_are_chosen_by_kind_name_group_and_labels() {
        assert_eq!(shown("").0, ["one", "Two", "Three", "Four"]);
        assert_eq!(shown("type=Record").0, ["one"]);
        assert_eq!(shown("rule_name[]=Two&rule_name[]=Four").0, ["Two", "Four"]);
        assert_eq!(shown("rule_group[]=b").0, ["Three"]);
        assert_eq!(shown("match[]={severity=~\".%2B\"}").0, ["Two", "Four"]);
        assert_eq!(shown("file[]=other").0, Vec::<String>::new());
    }

    #[test]
    fn groups_come_in_pages() {
        let (first, next) = shown("group_limit=2");
        assert_eq!(first, ["one", "Two", "Three"]);
        let (second, end) = shown(&format!("group_limit=2&group_next_token={}", next.unwrap()));
        assert_eq!((second, end), (vec!["Four".to_owned()], None));
        for (query, problem) in [
            ("group_limit=0", "greater than 0"),
            ("group_limit=x", "valid number"),
            ("group_next_token=x", "group_limit needs to be present"),
        ] {
            let form = Form::of(query);
            let error = Page::of(&form).err().unwrap().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
