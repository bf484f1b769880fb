//! Objectives at the crate's door.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::LazyLock;

use tenantscope_model::{Evaluate, EvaluateError, Evaluated, Labels, Scope};
use tenantscope_rules::{Groups, RuleKind};
use tenantscope_slo::{Audience, Objectives, Period, Window};

const SLO: &str = r#"
# An objective for every tenant.
apiVersion: openslo/v1
kind: SLI
metadata: {name: api-errors}
spec:
  ratioMetric:
    counter: true
    bad: {metricSource: {type: Prometheus, spec: {query: 'http_requests_total{code=~"5.."}'}}}
    total: {metricSource: {metricSourceRef: main, type: Prometheus, spec: {query: http_requests_total}}}
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: api
  displayName: API availability
  annotations: {tenantscope.io/selector: "tier=gold", tenantscope.io/time-scale: "0.1"}
spec:
  description: Requests are answered.
  service: shop
  indicatorRef: api-errors
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: good, target: 0.99}]
"#;

static OBJECTIVES: LazyLock<Objectives> = LazyLock::new(|| Objectives::parse("slo.yaml", SLO).unwrap());

/// Two tenants with 100 requests in each hour of the first day; `bad` fails half of them in hours 2 and 3.
struct History;

impl Evaluate for History {
    fn evaluate(&self, scope: &Scope, expression: &str, at_ms: i64) -> Result<Vec<Evaluated>, EvaluateError> {
        let start_ms = expression.find('[').and_then(|open| {
            let text = &expression[open + 1..open + expression[open..].find(']')?];
            let length = tenantscope_rules::parse_duration(text).ok()?;
            Some(at_ms - i64::try_from(length.as_millis()).ok()?)
        });
        let start_ms = start_ms.unwrap_or(at_ms);
        let first_ms = Period::month("2026-10").unwrap().from_ms;
        let overlap = |from: i64, to: i64| {
            let (from, to) = (first_ms + from * 3_600_000, first_ms + to * 3_600_000);
            (at_ms.min(to) - start_ms.max(from)).max(0) as f64 / 3_600_000.0
        };
        let wants_bad = expression.contains("5..");
        let value = |tenant| match (tenant, wants_bad) {
            (_, false) => 100.0 * overlap(0, 24),
            ("bad", true) => 50.0 * overlap(2, 4),
            _ => 0.0,
        };
        let tenants = ["bad", "good"].into_iter().filter(|tenant| scope.allows_text(tenant));
        let elements = tenants.map(|t| Evaluated { labels: Labels::from_pairs([("tenant", t)]), value: value(t) });
        Ok(elements.filter(|e| overlap(0, 24) > 0.0 || e.value > 0.0).collect())
    }
}

#[test]
fn an_objective_yields_rules_that_prometheus_would_take() {
    let groups = OBJECTIVES.rule_groups();
    Groups::default().add(groups.clone()).unwrap();
    let rules: Vec<_> = groups.iter().flat_map(|g| &g.rules).collect();
    let ratio = rules.iter().find(|r| r.name() == "slo:sli_error:ratio_rate1h").unwrap();
    assert!(ratio.expr.contains("[6m]") && ratio.expr.contains(r#"tenantscope_tenant_info{tier="gold"}"#));
    assert_eq!(ratio.labels["time_scale"], "0.1");
    for window in ["5m", "30m", "1h", "2h", "6h", "1d", "3d"] {
        assert!(rules.iter().any(|r| r.name() == format!("slo:sli_error:ratio_rate{window}")), "{window}");
    }
    let alerts: Vec<_> = rules.iter().filter(|r| matches!(r.kind, RuleKind::Alerting { .. })).collect();
    let severities: Vec<_> = alerts.iter().map(|r| r.labels["severity"].as_str()).collect();
    assert_eq!(severities, ["page", "ticket"]);
    assert!(alerts[0].expr.contains("> 0.144000000"), "{}", alerts[0].expr);
    assert!(
        alerts[0].expr.contains("slo:sli_events:increase1h{service=\"shop\",slo=\"api\",time_scale=\"0.1\"} >= 20"),
        "{}",
        alerts[0].expr
    );
}

#[test]
fn a_budget_is_what_is_left_and_keeps_to_the_scope() {
    let at_ms = Period::month("2026-10").unwrap().from_ms + 24 * 3_600_000;
    let budgets = OBJECTIVES.budgets(&History, &Scope::All, at_ms).unwrap();
    assert_eq!(budgets.len(), 2);
    let bad = &budgets[0];
    assert_eq!((bad.tenant.as_str(), bad.total_events, bad.bad_events), ("bad", 2400.0, 100.0));
    assert!((bad.remaining - (1.0 - 100.0 / 24.0)).abs() < 1e-9);
    let good = Scope::only("good".parse().unwrap());
    let budgets = OBJECTIVES.budgets(&History, &good, at_ms).unwrap();
    assert_eq!((budgets.len(), budgets[0].remaining), (1, 1.0));
}

#[test]
fn a_report_names_the_bad_time() {
    let month = Period::month("2026-10").unwrap();
    let tenant = Audience::Tenant("bad".parse().unwrap());
    let report = OBJECTIVES.report(&History, &tenant, &month, month.to_ms).unwrap();
    let [objective] = report.objectives.as_slice() else { panic!("one objective") };
    assert!((objective.total_events - 2400.0).abs() < 1e-6 && (objective.bad_events - 100.0).abs() < 1e-6);
    assert!(!objective.met);
    let [bad] = objective.bad_periods.as_slice() else { panic!("{:?}", objective.bad_periods) };
    assert!(bad.from_ms <= month.from_ms + 2 * 3_600_000 && bad.to_ms >= month.from_ms + 4 * 3_600_000);
    assert!(bad.to_ms - bad.from_ms <= 3 * 3_600_000, "data of one day is looked at closely: {bad:?}");
    let last = objective.points.last().unwrap();
    assert!((last.budget_remaining - objective.budget_remaining).abs() < 1e-9);
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["objectives"][0]["slo"], "api");
    assert_eq!(json["period"]["name"], "2026-10");
}

#[test]
fn a_page_needs_nothing_beside_itself() {
    let month = Period::month("2026-10").unwrap();
    let report = OBJECTIVES.report(&History, &Audience::Fleet(Scope::All), &month, month.to_ms).unwrap();
    let page = report.to_html();
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme: dark") && page.contains("missed"));
    for outside in ["http://", "https://", "<script", "src=", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    if let Ok(path) = std::env::var("TENANTSCOPE_TEST_PAGE") {
        std::fs::write(path, &page).unwrap();
    }
    let csv = report.to_csv();
    assert!(csv.lines().nth(1).unwrap().starts_with("2026-10,bad,api,shop,0.99,"), "the worst first: {csv}");
    assert_eq!(csv.lines().count(), 3);
    assert!(report.to_markdown().contains("| bad | API availability | 99 % |"));
}

#[test]
fn mistakes_are_named_with_their_line() {
    let mistake = |from: &str, to: &str| Objectives::parse("s.yaml", &SLO.replace(from, to)).unwrap_err().to_string();
    for (from, to, line, word) in [
        ("target: 0.99", "target: 99", 24, "not between"),
        ("Occurrences", "Timeslices", 23, "Occurrences"),
        ("indicatorRef: api-errors", "indicatorRef: none", 21, "none"),
        ("service: shop", "servise: shop", 20, "servise"),
        ("io/time-scale", "io/timescale", 17, "timescale"),
        ("kind: SLI\n", "kind: SLX\n", 4, "SLX"),
    ] {
        let text = mistake(from, to);
        assert!(text.contains(&format!("s.yaml:{line}: ")) && text.contains(word), "{to}: {text}");
    }
    assert!(mistake("query: http_requests_total}", "query: 'sum(http_requests_total'}").contains("\"api\""));
}

#[test]
fn a_calendar_month_counts_from_its_first_day() {
    let text = SLO.replace(
        "[{duration: 30d, isRolling: true}]",
        "[{duration: 1M, isRolling: false, calendar: {startTime: '2026-01-01 00:00:00', timeZone: UTC}}]",
    );
    let objectives = Objectives::parse("s.yaml", &text).unwrap();
    assert_eq!(objectives.get("api").unwrap().window, Window::Month);
    let at_ms = Period::month("2026-10").unwrap().from_ms + 86_400_000;
    assert_eq!(objectives.budgets(&History, &Scope::All, at_ms).unwrap()[0].total_events, 2400.0);
}
