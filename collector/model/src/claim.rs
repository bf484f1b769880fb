use crate::Stamp;

/// What a resource (or a remote-write series) says of itself; believed only where the sender's credential allows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Claim {
    /// `tenant.id`, or the label `tenant`, as it came.
    pub tenant: Option<String>,
    /// `cloud.account.id`, or the label `account_id`, as it came.
    pub account: Option<String>,
    /// `cloud.region`, or the label `region`, as it came.
    pub region: Option<String>,
}

/// What is done with a resource that makes a [`Claim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is taken under these names.
    Stamp(Stamp),
    /// It is refused for good; the rest of its batch is not touched by that.
    Refuse {
        /// A fixed word for the counter's `reason` label, also told to the sender.
        reason: &'static str,
    },
}
