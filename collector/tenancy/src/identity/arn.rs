//! ARNs, and patterns of them as IAM's `ArnLike` reads them.

/// A pattern with six parts, as an ARN has: each is compared on its own, `*` stands for any characters of its part, so
/// that nothing in one part can pass for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArnPattern([String; 6]);

impl ArnPattern {
    /// `arn:aws:sts::*:assumed-role/tenantscope-agent/*`
    pub(crate) fn try_new(text: &str) -> Option<Self> {
        let parts = parts(text).filter(|[arn, ..]| *arn == "arn")?;
        Some(Self(parts.map(str::to_owned)))
    }

    /// Whether an ARN fulfils it.
    pub(crate) fn matches(&self, arn: &str) -> bool {
        let Some(parts) = parts(arn) else { return false };
        self.0.iter().zip(parts).all(|(pattern, part)| matches(pattern, part))
    }
}

/// `arn:<partition>:<service>:<region>:<account>:<resource>`, of which the resource may have colons.
pub(crate) fn parts(arn: &str) -> Option<[&str; 6]> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    parts.try_into().ok()
}

/// Whether `text` fulfils `pattern`, in which `*` stands for any characters, none included.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        // The earliest place leaves the most for what follows.
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_in_its_part() {
        let arn = "arn:aws:sts::123456789012:assumed-role/tenantscope-agent/i-1";
        let fulfils = |pattern: &str, arn: &str| ArnPattern::try_new(pattern).unwrap().matches(arn);
        assert!(fulfils("arn:aws:sts::*:assumed-role/tenantscope-agent/*", arn));
        assert!(fulfils(arn, arn) && fulfils("arn:*:sts:*:*:*agent*i-1", arn));
        assert!(!fulfils("arn:aws:sts::*:assumed-role/other/*", arn));
        assert!(!fulfils("arn:aws:sts::*:assumed-role/tenantscope-agent", arn));
        // The path of a user is its account's to choose.
        let user = "arn:aws:iam::123456789012:user/x:assumed-role/tenantscope-agent/y";
        assert!(!fulfils("arn:aws:*::*:assumed-role/tenantscope-agent/*", user));
        for wrong in ["", "*", "arn:aws:sts::assumed-role/x", "x:aws:sts::*:assumed-role/x"] {
            assert_eq!(ArnPattern::try_new(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn stars() {
        assert!(matches("*", "") && matches("a*c", "abc") && matches("a*", "a") && matches("", ""));
        assert!(!matches("", "a") && !matches("*i-1*i-1", "i-1") && !matches("a*bc*c", "abc"));
    }
}
