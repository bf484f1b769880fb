//! Templates and rule files under a fuzzer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use tenantscope_fuzz::{Counting, fuzz, peak_bytes};
use tenantscope_model::{Evaluate, EvaluateError, Evaluated, Labels, Scope, TenantId};
use tenantscope_rules::{Template, TemplateData};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Stands in all that another tenant has.
const CANARY: &str = "k4n4ry";

struct Fixed;

impl Evaluate for Fixed {
    fn evaluate(&self, scope: &Scope, _: &str, _: i64) -> Result<Vec<Evaluated>, EvaluateError> {
        let element = |tenant: &str, value| Evaluated {
            labels: Labels::from_pairs([("tenant", tenant), ("instance", tenant)]),
            value,
        };
        let all = [element("acme", 2.0), element("acme", f64::NAN), element(CANARY, 3.0)];
        let within = |one: &Evaluated| scope.allows_text(one.labels.get("tenant").unwrap_or(""));
        Ok(all.into_iter().filter(within).collect())
    }
}

/// What a template makes is bounded, and says nothing of other tenants.
#[test]
fn template() {
    fuzz!("template", |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Ok(template) = Template::parse(text) else { return };
        let labels = Labels::from_pairs([("tenant", "acme"), ("job", "api gateway")]);
        let external = BTreeMap::from([("cluster".to_owned(), "eu".to_owned())]);
        let scope = Scope::only(TenantId::try_new("acme").unwrap());
        for value in [1.5, -1e308, f64::NAN, 1e-320] {
            let data = TemplateData {
                labels: &labels,
                value,
                external_labels: &external,
                external_url: "https://scope.example/x",
                evaluate: &Fixed,
                scope: &scope,
                at_ms: 1_435_065_584_128,
            };
            let (made, bytes) = peak_bytes(|| template.expand(&data));
            assert!(bytes <= (2 << 20) + 4096 * input.len(), "{bytes} bytes");
            if let Ok(made) = made {
                assert!(made.len() <= 64 * 1024);
                assert!(text.contains(CANARY) || !made.contains(CANARY));
            }
        }
    });
}
