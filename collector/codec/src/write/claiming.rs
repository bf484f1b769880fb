//! What series claim of themselves, each distinct claim once.

use std::collections::HashMap;

use tenantscope_model::Claim;

/// A claim in the body's own bytes, which are UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ClaimText<'a> {
    pub(super) tenant: Option<&'a [u8]>,
    pub(super) account: Option<&'a [u8]>,
    pub(super) region: Option<&'a [u8]>,
}

impl ClaimText<'_> {
    fn says(&self, claim: &Claim) -> bool {
        fn same(text: Option<&[u8]>, claimed: Option<&String>) -> bool {
            text == claimed.map(String::as_bytes)
        }
        same(self.tenant, claim.tenant.as_ref())
            && same(self.account, claim.account.as_ref())
            && same(self.region, claim.region.as_ref())
    }

    fn to_claim(self) -> Claim {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Claim { tenant: text(self.tenant), account: text(self.account), region: text(self.region) }
    }
}

/// The distinct claims of a body, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct Claims {
    distinct: Vec<Claim>,
    places: HashMap<Claim, u32>,
    last: u32,
}

impl Claims {
    /// The claim's place; most series say what the one before says.
    pub(super) fn place(&mut self, text: ClaimText<'_>) -> u32 {
        if self.distinct.get(self.last as usize).is_some_and(|claim| text.says(claim)) {
            return self.last;
        }
        let next = u32::try_from(self.distinct.len()).unwrap_or(u32::MAX);
        let claim = text.to_claim();
        self.last = *self.places.entry(claim).or_insert_with_key(|claim| {
            self.distinct.push(claim.clone());
            next
        });
        self.last
    }

    pub(super) fn into_distinct(self) -> Vec<Claim> {
        self.distinct
    }
}
