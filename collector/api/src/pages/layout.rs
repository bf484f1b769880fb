//! What every page has: head, navigation, the reader's scope; and how numbers and times are written.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use tenantscope_model::{Scope, TenantId};

const STYLE: &str = include_str!("style.css");

/// Which entry of the navigation is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Fleet,
    Tenant,
    Accounts,
    Incidents,
    Objectives,
}

/// A whole page.
pub(super) fn page(title: &str, place: Place, scope: &Scope, content: &Markup) -> Markup {
    let entries = [
        ("/", "Fleet", Place::Fleet),
        ("/accounts", "Accounts", Place::Accounts),
        ("/incidents", "Incidents", Place::Incidents),
        ("/slo", "Objectives", Place::Objectives),
    ];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Tenantscope" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.top {
                    strong { "Tenantscope" }
                    nav aria-label="Pages" {
                        @for (path, name, its_place) in entries {
                            a href=(path) aria-current=[(place == its_place).then_some("page")] { (name) }
                        }
                    }
                    span.scope { (scope_text(scope)) }
                }
                main { (content) }
            }
        }
    }
}

fn scope_text(scope: &Scope) -> String {
    match scope {
        Scope::All => "all tenants".to_owned(),
        Scope::Tenants(tenants) if tenants.len() <= 3 => {
            let names: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
            if names.is_empty() { "no tenant".to_owned() } else { names.join(", ") }
        }
        Scope::Tenants(tenants) => format!("{} tenants", tenants.len()),
    }
}

/// How good a value is; also its class in the style sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Warn,
    Bad,
}

impl Mood {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    /// Of an error ratio.
    pub(super) fn of_errors(ratio: f64) -> Self {
        match ratio {
            r if r > 0.05 => Self::Bad,
            r if r > 0.01 => Self::Warn,
            _ => Self::Good,
        }
    }

    /// Of what is left of an error budget.
    pub(super) fn of_budget(left: f64) -> Self {
        match left {
            l if l <= 0.0 => Self::Bad,
            l if l < 0.5 => Self::Warn,
            _ => Self::Good,
        }
    }
}

/// `3.5 %`.
pub(super) fn percent(ratio: f64) -> String {
    let value = ratio * 100.0;
    match value.abs() {
        v if v >= 10.0 || v == 0.0 => format!("{value:.0} %"),
        v if v >= 1.0 => format!("{value:.1} %"),
        _ => format!("{value:.2} %"),
    }
}

/// A number of at most four digits with k, M, G.
pub(super) fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value + 0.0, ""), // a sum of nothing is -0
    };
    let digits = match scaled.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => 0,
        v if v >= 1.0 => 1,
        _ => 3,
    };
    format!("{scaled:.digits$}{unit}")
}

/// `12 s`, `5 min`, `3 h`, `2 d`.
pub(super) fn age(age_ms: i64) -> String {
    let seconds = age_ms.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `14:03:07`, UTC.
pub(super) fn clock(time_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(time_ms).map(|t| t.strftime("%H:%M:%S").to_string());
    time.unwrap_or_else(|_| "—".to_owned())
}

/// `2026-11-24 14:03:07`, UTC.
pub(super) fn moment(time_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(time_ms).map(|t| t.strftime("%Y-%m-%d %H:%M:%S").to_string());
    time.unwrap_or_else(|_| "—".to_owned())
}

/// What is left of a budget, as a bar with its number.
pub(super) fn budget_bar(left: f64) -> Markup {
    let width = (left.clamp(0.0, 1.0) * 100.0).round();
    html! {
        span class=(Mood::of_budget(left).class()) {
            span.bar aria-hidden="true" { i style={ "width:" (width) "%" } {} }
            (percent(left))
        }
    }
}

/// A part of a page that could not be read: the rest stands.
pub(super) fn unreadable(what: &str, why: &str) -> Markup {
    html! { p.bad role="status" { (what) " could not be read: " (why) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        assert_eq!(
            [percent(0.0), percent(0.1234), percent(0.0123), percent(0.00123)],
            ["0 %", "12 %", "1.2 %", "0.12 %"]
        );
        assert_eq!(
            [short(0.0), short(1234.0), short(45_300.0), short(2.5e9), short(0.25)],
            ["0", "1234", "45.3k", "2.5G", "0.250"]
        );
        assert_eq!([age(-5), age(61_000), age(3_700_000), age(90_000_000)], ["0 s", "61 s", "61 min", "25 h"]);
    }
}
