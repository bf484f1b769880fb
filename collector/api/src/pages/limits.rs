//! What a tenant may send, and what was refused lately: the part on limits of the tenant's page.

use std::collections::BTreeMap;
use std::sync::Arc;

use maud::{Markup, html};
use tenantscope_model::{Scope, TenantId};

use super::layout;

/// Batches that were refused and records that were left out, by signal and reason. An anchored range needs no sample before
/// it, so that what was refused once counts as well.
const REFUSED: &str = "sum by (signal, reason) (increase(tenantscope_tenant_refused_batches_total[1h] anchored)) > 0";
const REJECTED: &str = "sum by (signal, reason) (increase(tenantscope_tenant_rejected_records_total[1h] anchored)) > 0";

const QUERIES: &str = "sum by (reason) (increase(tenantscope_tenant_refused_queries_total[1h] anchored)) > 0";

#[derive(Default)]
struct Refused {
    batches: f64,
    records: f64,
    queries: f64,
}

/// Where a query's value belongs.
type CountOf = fn(&mut Refused) -> &mut f64;

/// The section. The page has looked whether the reader may see the tenant.
pub(super) async fn section(state: &Arc<super::State>, tenant: &TenantId, scope: &Scope, now_ms: i64) -> Markup {
    let tenants = state.sources.registry.as_ref().map(|registry| registry.tenants());
    let quota = state.sources.quotas.of(tenant, tenants.as_deref());
    let bounds: BTreeMap<&str, String> = quota.write_bounds().into_iter().collect();
    let by_reason = state.sources.quotas.by_reason(&quota);
    let refused = match recently_refused(state, scope, now_ms).await {
        Ok(refused) => refused,
        Err(why) => return html! { section.card { h2 { "Limits" } (layout::unreadable("limits", &why)) } },
    };
    html! {
        section.card {
            h2 { "Limits" }
            @if bounds.is_empty() { p.soft { "no bounds of its own" } } @else {
                p.soft { @for (n, (name, bound)) in bounds.iter().enumerate() { @if n > 0 { " · " } (name) " " (bound) } }
            }
            @if refused.is_empty() { p.soft { "nothing was refused in the last hour" } } @else {
                table {
                    thead { tr {
                        th scope="col" { "Refused in the last hour" } th scope="col" { "Signal" } th.n scope="col" { "Limit" }
                        th.n scope="col" { "Batches" } th.n scope="col" { "Records left out" } th.n scope="col" { "Queries" }
                    } }
                    tbody {
                        @for ((reason, signal), refused) in &refused {
                            tr {
                                td { (reason) } td { (signal) }
                                td.n { (by_reason.get(reason.as_str()).map_or("", String::as_str)) }
                                td.n { (layout::short(refused.batches)) } td.n { (layout::short(refused.records)) }
                                td.n { (layout::short(refused.queries)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

async fn recently_refused(
    state: &Arc<super::State>,
    scope: &Scope,
    now_ms: i64,
) -> Result<BTreeMap<(String, String), Refused>, String> {
    let mut found: BTreeMap<(String, String), Refused> = BTreeMap::new();
    let counts: [(&str, CountOf); 3] = [
        (REFUSED, |refused| &mut refused.batches),
        (REJECTED, |refused| &mut refused.records),
        (QUERIES, |refused| &mut refused.queries),
    ];
    for (query, count) in counts {
        for element in state.queries.instant(scope, query, now_ms).await? {
            let label = |name| element.labels.get(name).unwrap_or("").to_owned();
            let refused = found.entry((label("reason"), label("signal"))).or_default();
            *count(refused) += element.value;
        }
    }
    Ok(found)
}
