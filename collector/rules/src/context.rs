use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tenantscope_model::EvaluateApart;

use crate::seam::{Clock, Notify, Results};

/// How rules are evaluated.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often receivers are told again of an alert that holds.
    pub resend_delay: Duration,
    /// How long receivers are told again of an alert that ended.
    pub resolved_retention: Duration,
    /// How far back a restart looks for the state of alerts.
    pub outage_tolerance: Duration,
    /// How many groups are evaluated at once.
    pub concurrent_groups: usize,
    /// `$externalLabels` in templates.
    pub external_labels: BTreeMap<String, String>,
    /// Where people reach the server, without a slash at the end; empty where nobody can.
    pub external_url: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            resend_delay: Duration::from_secs(60),
            resolved_retention: Duration::from_secs(15 * 60),
            outage_tolerance: Duration::from_secs(60 * 60),
            concurrent_groups: 4,
            external_labels: BTreeMap::new(),
            external_url: String::new(),
        }
    }
}

/// What all groups share.
pub(crate) struct Context {
    pub(crate) evaluate: Arc<dyn EvaluateApart>,
    pub(crate) results: Arc<dyn Results>,
    pub(crate) notify: Arc<dyn Notify>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
}
