//! Which accounts lack a required tag, misspell it, or give it a value that is not allowed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use tenantscope_model::{AccountId, Scope, TenantId};

use crate::config::{OrganizationsConfig, RequiredTag};
use crate::registry::tenants::{Account, AccountSource, Tenant, Tenants};

/// The longest text that is compared for likeness, in characters.
const MAX_COMPARED_CHARS: usize = 64;

/// What is wrong with one required tag of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TagFinding {
    /// The account.
    pub account: AccountId,
    /// Its name in the organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// Its tenant; none where no tenant has it.
    pub tenant: Option<TenantId>,
    /// The tag that is required.
    pub tag: String,
    /// What is wrong.
    pub problem: TagProblem,
    /// The tag as the account has it, or one whose name looks like it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_tag: Option<String>,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_value: Option<String>,
    /// The allowed value that is most like it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_value: Option<String>,
}

/// What can be wrong with a required tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TagProblem {
    /// There is none, and none that looks like it.
    Missing,
    /// There is none, but one whose name looks like it.
    Misspelled,
    /// Its value is empty, or none of those that are allowed.
    Value,
}

/// The findings within a scope.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TagReport {
    /// Accounts that were looked at: those at work.
    pub accounts: usize,
    /// By account, then in the policy's order.
    pub findings: Vec<TagFinding>,
}

/// Looks at all accounts of a scope; those on their way out need no tags any more.
pub(crate) fn report(
    tenants: &Tenants,
    policy: &[RequiredTag],
    rules: Option<&OrganizationsConfig>,
    scope: &Scope,
) -> TagReport {
    let mut report = TagReport::default();
    if policy.is_empty() {
        return report;
    }
    for account in tenants.all_accounts().filter(|account| !account.state.is_closing()) {
        let tenant = tenants.owner(account.id);
        if !scope.allows(tenant.map(|tenant| &tenant.id)) {
            continue;
        }
        report.accounts += 1;
        let tags = tags_of(account, tenant.map(|tenant| &**tenant), rules);
        let told = policy.iter().filter_map(|required| finding(account, required, &tags));
        let tenant = tenant.map(|tenant| tenant.id.clone());
        report.findings.extend(told.map(|finding| TagFinding { tenant: tenant.clone(), ..finding }));
    }
    report
}

/// An account's tags. One that only the file has, has its tenant's attributes under the names of the tags that they stand for.
fn tags_of<'a>(
    account: &'a Account,
    tenant: Option<&'a Tenant>,
    rules: Option<&'a OrganizationsConfig>,
) -> BTreeMap<&'a str, &'a str> {
    let tags = account.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    if account.source != AccountSource::File {
        return tags.collect();
    }
    let attributes = tenant.into_iter().flat_map(|tenant| &tenant.attributes);
    let tag = |attribute: &'a String| rules.and_then(|rules| rules.attributes.get(attribute)).unwrap_or(attribute);
    attributes.map(|(name, value)| (tag(name).as_str(), value.as_str())).collect()
}

fn finding(account: &Account, required: &RequiredTag, tags: &BTreeMap<&str, &str>) -> Option<TagFinding> {
    let (problem, found) = match tags.get_key_value(required.tag.as_str()) {
        Some((_, value)) if is_allowed(required, value) => return None,
        Some(found) => (TagProblem::Value, Some(found)),
        None => {
            let candidates = tags.keys().map(|key| (*key, *key));
            let like = nearest(&required.tag, candidates).and_then(|key| tags.get_key_value(key));
            (if like.is_some() { TagProblem::Misspelled } else { TagProblem::Missing }, like)
        }
    };
    let allowed = required.values.iter().map(|value| (value.as_str(), value.as_str()));
    let suggested =
        found.filter(|(_, value)| !is_allowed(required, value)).and_then(|(_, value)| nearest(value, allowed));
    Some(TagFinding {
        account: account.id,
        account_name: account.name.clone(),
        tenant: None,
        tag: required.tag.clone(),
        problem,
        found_tag: found.map(|(key, _)| (*key).to_owned()),
        found_value: found.map(|(_, value)| (*value).to_owned()),
        suggested_value: suggested.map(str::to_owned),
    })
}

fn is_allowed(required: &RequiredTag, value: &str) -> bool {
    !value.is_empty() && (required.values.is_empty() || required.values.iter().any(|allowed| allowed == value))
}

/// The candidate that is most like a text, if one is like it at all; the first of several.
fn nearest<'a>(text: &str, candidates: impl Iterator<Item = (&'a str, &'a str)>) -> Option<&'a str> {
    let wanted = plain(text);
    let near = candidates.filter_map(|(name, candidate)| Some((distance(&wanted, &plain(name))?, candidate)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Without case and separators, in which people differ most.
fn plain(text: &str) -> Vec<char> {
    let text: Cow<'_, str> =
        if text.is_ascii() { Cow::Owned(text.to_ascii_lowercase()) } else { text.to_lowercase().into() };
    text.chars().filter(|c| c.is_alphanumeric()).take(MAX_COMPARED_CHARS).collect()
}

/// How many letters are wrong, missing, too many, or exchanged with their neighbour; `None` past a typing error or two.
fn distance(a: &[char], b: &[char]) -> Option<usize> {
    let most = if a.len().max(b.len()) <= 4 { 1 } else { 2 };
    if a.is_empty() || b.is_empty() || a.len().abs_diff(b.len()) > most {
        return None;
    }
    // Rows of the usual table: two before, one before, this one.
    let (mut before_last, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let changed = last[j] + usize::from(from != to);
            let mut best = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        (before_last, last) = (last, row);
    }
    last.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::registry::merge::merge;
    use crate::registry::organization::tests::{account, organization};

    fn policy() -> Vec<RequiredTag> {
        serde_saphyr::from_str("[{tag: tier, values: [gold, silver, bronze]}, {tag: cost-center}]").unwrap()
    }

    fn found(tags: &[(&str, &str)]) -> Vec<(String, TagProblem, Option<String>, Option<String>)> {
        let organization = organization(&[("111122223333", account("a", "/", tags))]);
        let tenants = merge(None, &organization, &OrganizationsConfig::default()).tenants;
        let findings = report(&tenants, &policy(), None, &Scope::All).findings.into_iter();
        findings.map(|found| (found.tag, found.problem, found.found_tag, found.suggested_value)).collect()
    }

    #[test]
    fn what_is_missing_misspelled_or_not_allowed_is_told_apart() {
        assert_eq!(found(&[("tier", "gold"), ("cost-center", "42")]), []);
        let tier = |problem, found: Option<&str>, value: Option<&str>| {
            ("tier".to_owned(), problem, found.map(str::to_owned), value.map(str::to_owned))
        };
        let centre = ("cost-center", "1");
        assert_eq!(found(&[centre]), [tier(TagProblem::Missing, None, None)]);
        assert_eq!(found(&[centre, ("Tier", "gold")]), [tier(TagProblem::Misspelled, Some("Tier"), None)]);
        assert_eq!(found(&[centre, ("teir", "Gold")]), [tier(TagProblem::Misspelled, Some("teir"), Some("gold"))]);
        assert_eq!(found(&[centre, ("tier", "glod")]), [tier(TagProblem::Value, Some("tier"), Some("gold"))]);
        assert_eq!(found(&[centre, ("tier", "platinum")]), [tier(TagProblem::Value, Some("tier"), None)]);
        assert_eq!(found(&[centre, ("tier", "")]), [tier(TagProblem::Value, Some("tier"), None)]);
        assert_eq!(found(&[("tier", "gold"), ("CostCenter", "1")])[0].1, TagProblem::Misspelled);
        assert_eq!(found(&[("tier", "gold"), ("owner", "1")])[0].1, TagProblem::Missing);
    }

    #[test]
    fn a_file_has_attributes_for_tags_and_a_reader_sees_its_own() {
        let file = "tenants: [{id: a, accounts: [\"111111111111\"], attributes: {tier: iron, cost_center: x}}, {id: b, accounts: [\"222222222222\"]}]";
        let tenants = Tenants::parse(Path::new("t.yaml"), file).unwrap();
        let rules: OrganizationsConfig =
            serde_saphyr::from_str("{attributes: {tier: tier, cost_center: cost-center}}").unwrap();
        let all = report(&tenants, &policy(), Some(&rules), &Scope::All);
        assert_eq!((all.accounts, all.findings.len()), (2, 3));
        let own = report(&tenants, &policy(), Some(&rules), &Scope::only(TenantId::try_new("a").unwrap()));
        assert_eq!(own.findings.iter().map(|found| found.problem).collect::<Vec<_>>(), [TagProblem::Value]);
    }

    #[test]
    fn near_is_a_typing_error_or_two() {
        let near = |a: &str, b: &str| distance(&plain(a), &plain(b));
        assert_eq!(near("tier", "tire"), Some(1), "exchanged");
        assert_eq!(near("wave", "waves"), Some(1));
        assert_eq!(near("owner", "ownr"), Some(1));
        assert_eq!(near("owner", "woner"), Some(1));
        assert_eq!(near("tier", "team"), None);
        assert_eq!(near("", "a"), None);
        assert_eq!(near("environment", "enviroment"), Some(1));
    }
}
