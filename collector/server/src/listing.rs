//! `tenants list` and `tenants show`: tenants as the running collector has them, within the scope of who asks.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::{Asking, ShowTenant};
use crate::config::Config;
use crate::report::Asker;

const PATH: &str = "/tenantscope/v1/tenants";

/// A tenant as the collector tells of it, as far as a line shows it.
#[derive(Deserialize)]
struct Tenant {
    id: String,
    accounts: Vec<String>,
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    former_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    tenants: Vec<Value>,
}

/// A line for each tenant: its id, accounts, attributes and former ids, between tabs.
pub async fn list(asking: &Asking) -> Result<String> {
    let mut lines = vec!["TENANT\tACCOUNTS\tATTRIBUTES\tFORMERLY".to_owned()];
    for told in tenants(asking).await? {
        let Tenant { id, accounts, attributes, former_ids } = read(&told)?;
        let attributes: Vec<String> = attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.push(format!("{id}\t{}\t{}\t{}", accounts.join(","), attributes.join(","), former_ids.join(",")));
    }
    Ok(lines.join("\n"))
}

/// All that is known of one tenant, as JSON; its id or one that it had before.
pub async fn show(options: &ShowTenant) -> Result<String> {
    for told in tenants(&options.asking).await? {
        let Tenant { id, former_ids, .. } = read(&told)?;
        if id == options.tenant || former_ids.contains(&options.tenant) {
            return Ok(serde_json::to_string_pretty(&told)?);
        }
    }
    bail!("the collector knows no tenant {}, or not one that may be seen with this token", options.tenant)
}

async fn tenants(asking: &Asking) -> Result<Vec<Value>> {
    let asker = Asker::try_new(&Config::read(&asking.config)?, PATH, asking)?;
    let answer: Answer = serde_json::from_slice(&asker.get(&[]).await?).context("the collector's list of tenants")?;
    Ok(answer.tenants)
}

fn read(told: &Value) -> Result<Tenant> {
    Tenant::deserialize(told).context("the collector's list of tenants")
}
