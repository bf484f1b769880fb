//! Reads AWS Organizations again and again: units, accounts, tags.
//!
//! One reading walks the tree of units, so that each account comes with its unit: a call for each unit's children and one
//! for each twenty accounts. Tags cost a call for each account: those of new accounts are read at once and put in force
//! with their page, those of known ones in what is left of the reading's calls, the oldest first. A reading that fails
//! changes nothing, and the next one waits longer.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_organizations::Client;
use aws_sdk_organizations::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_organizations::types;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, tls};
use rand::Rng as _;
use tenantscope_model::AccountId;
use tokio::time::Instant;

use crate::config::OrganizationsConfig;
use crate::registry::Registry;
use crate::registry::organization::{AccountState, Organization, OrganizationAccount};
use crate::registry::pace::Pace;
use crate::registry::reading::{Endless, Pages, Reading, Unit};
use crate::registry::telemetry;

/// Attempts of one call; the SDK waits longer from one to the next, and when it is throttled.
const MAX_ATTEMPTS: u32 = 5;
const LONGEST_BACKOFF: Duration = Duration::from_secs(20);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether there is an organization now.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two readings.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after readings that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// The most accounts and units of an organization; AWS's own quotas are below.
const MAX_ACCOUNTS: usize = 100_000;
const MAX_UNITS: usize = 10_000;
/// From one registry to the next while a reading goes on.
const LEAST_PUT_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PUT_PAUSE: Duration = Duration::from_secs(15);
/// The error codes that ask for fewer calls.
const THROTTLING_CODES: [&str; 4] =
    ["TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded"];

/// Why a reading failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A call, after all its attempts.
    #[error("{operation}: {message}")]
    Call {
        operation: &'static str,
        /// AWS's error code, where it answered with one.
        code: Option<String>,
        message: String,
    },
    /// A list without end.
    #[error(transparent)]
    Endless(#[from] Endless),
    /// An organization has its management account at least.
    #[error("the answer has no account at all")]
    Empty,
    /// More than is taken.
    #[error("more than {most} {what}")]
    TooMany { what: &'static str, most: usize },
}

/// What reads, for the program's life, while an organization is configured.
pub struct OrganizationsReader {
    registry: Arc<Registry>,
}

/// One that has what it needs for its calls.
struct Reader {
    registry: Arc<Registry>,
    /// As the reading that goes on began with them.
    rules: OrganizationsConfig,
    client: Client,
    pace: Pace,
    /// Accounts that the reading before did not find: who moves from one unit to another while both are read may be in
    /// neither, and must not be gone for that.
    missing: BTreeSet<AccountId>,
}

impl OrganizationsReader {
    /// Reads for this registry.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// Reads until `stop` ends.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = self.read_on() => {}
            () = stop => {}
        }
    }

    async fn read_on(self) {
        let mut reader: Option<Reader> = None;
        let mut failures = 0;
        loop {
            let Some(rules) = self.registry.organization_rules() else {
                // A reload may bring one.
                tokio::time::sleep(LOOK_INTERVAL).await;
                continue;
            };
            let (begun, refresh) = (Instant::now(), rules.refresh.0);
            let reader = match &mut reader {
                Some(reader) => reader.following(rules),
                None => reader.insert(Reader::load(Arc::clone(&self.registry), rules).await),
            };
            let pause = match reader.read().await {
                Ok(()) => {
                    failures = 0;
                    telemetry::round("ok");
                    refresh.saturating_sub(begun.elapsed())
                }
                Err(error) => {
                    failures += 1;
                    telemetry::round("failed");
                    let pause = pause_after(failures, refresh);
                    tracing::warn!(%error, failures, next_in = ?pause, "organization not read, what is known stays");
                    self.registry.organization_failed(error.to_string(), now_ms());
                    pause
                }
            };
            tokio::time::sleep(pause.max(LEAST_PAUSE)).await;
        }
    }
}

impl Reader {
    async fn load(registry: Arc<Registry>, rules: OrganizationsConfig) -> Self {
        let pace = Pace::new(rules.calls_per_second);
        Self { registry, rules, client: client().await, pace, missing: BTreeSet::new() }
    }

    /// The same by other rules, which a reload may have brought.
    fn following(&mut self, rules: OrganizationsConfig) -> &mut Self {
        self.pace.set_rate(rules.calls_per_second);
        self.rules = rules;
        self
    }

    async fn read(&mut self) -> Result<(), ReadError> {
        let begun = Instant::now();
        let mut reading = Reading::after(self.registry.organization());
        let mut units: Vec<Unit> = self.roots().await?;
        let mut seen = units.len();
        while let Some(unit) = units.pop() {
            let children = self.children(&unit).await?;
            seen += children.len();
            if seen > MAX_UNITS {
                return Err(ReadError::TooMany { what: "units", most: MAX_UNITS });
            }
            units.extend(children);
            self.accounts_of(&unit, &mut reading).await?;
        }
        if reading.found.is_empty() {
            return Err(ReadError::Empty);
        }
        let missing = reading.missing();
        let whole = reading.whole(&self.missing, now_ms());
        self.missing = missing;
        self.put_in_force(whole.clone()).await;
        self.renew_tags(whole, begun).await?;
        telemetry::last_read(now_ms());
        Ok(())
    }

    async fn roots(&mut self) -> Result<Vec<Unit>, ReadError> {
        let mut roots = Vec::new();
        let mut pages = Pages::default();
        while let Some(token) = pages.next()? {
            self.pace.wait().await;
            let answer = call("ListRoots", self.client.list_roots().set_next_token(token).send()).await?;
            roots.extend(answer.roots().iter().filter_map(types::Root::id).map(Unit::root));
            pages.turn(answer.next_token());
        }
        Ok(roots)
    }

    async fn children(&mut self, unit: &Unit) -> Result<Vec<Unit>, ReadError> {
        let mut children = Vec::new();
        let mut pages = Pages::default();
        while let Some(token) = pages.next()? {
            self.pace.wait().await;
            let asked = self.client.list_organizational_units_for_parent().parent_id(&unit.id).set_next_token(token);
            let answer = call("ListOrganizationalUnitsForParent", asked.send()).await?;
            let found = answer.organizational_units().iter();
            children.extend(found.filter_map(|child| Some(unit.child(child.id()?, child.name()?))));
            pages.turn(answer.next_token());
        }
        Ok(children)
    }

    /// The accounts of one unit; what is new is in force with its page, or soon after where many are new.
    async fn accounts_of(&mut self, unit: &Unit, reading: &mut Reading) -> Result<(), ReadError> {
        let mut pages = Pages::default();
        while let Some(token) = pages.next()? {
            self.pace.wait().await;
            let asked = self.client.list_accounts_for_parent().parent_id(&unit.id).set_next_token(token);
            let answer = call("ListAccountsForParent", asked.send()).await?;
            let mut news = 0;
            for listed in answer.accounts() {
                let Some(id) = listed.id().and_then(|id| AccountId::try_new(id).ok()) else { continue };
                let known = reading.known.accounts.get(&id);
                let tags = match known {
                    Some(known) => Some((known.tags.clone(), known.tags_read_ms)),
                    None => {
                        news += 1;
                        self.tags_of(id).await?.map(|tags| (tags, now_ms()))
                    }
                };
                // Without tags it left between two calls.
                if let Some((tags, tags_read_ms)) = tags {
                    reading.found.insert(id, account(listed, &unit.path, tags, tags_read_ms));
                }
            }
            if reading.found.len() > MAX_ACCOUNTS {
                return Err(ReadError::TooMany { what: "accounts", most: MAX_ACCOUNTS });
            }
            reading.news += news;
            if reading.news > 0 && reading.put_due.is_none_or(|due| Instant::now() >= due) {
                tracing::info!(
                    new = reading.news,
                    accounts = reading.found.len(),
                    "accounts appeared in the organization"
                );
                let begun = Instant::now();
                self.put_in_force(reading.so_far()).await;
                // A large one takes a moment to make and to write: a tenth of the time may go into that.
                let pause = (begun.elapsed() * 9).clamp(LEAST_PUT_PAUSE, LONGEST_PUT_PAUSE);
                (reading.news, reading.put_due) = (0, Some(Instant::now() + pause));
            }
            pages.turn(answer.next_token());
        }
        Ok(())
    }

    /// Reads tags again, the oldest first, with the calls that this reading has left; a quarter of them always.
    async fn renew_tags(&mut self, mut organization: Organization, begun: Instant) -> Result<(), ReadError> {
        let refresh = self.rules.refresh.0;
        let left = refresh.saturating_sub(begun.elapsed()).max(refresh / 4);
        let calls = (left.as_secs_f64() * self.rules.calls_per_second).ceil() as usize;
        let mut oldest: Vec<(i64, AccountId)> =
            organization.accounts.iter().map(|(id, account)| (account.tags_read_ms, *id)).collect();
        oldest.sort_unstable();
        let before = organization.clone();
        let mut outcome = Ok(());
        for (_, id) in oldest.into_iter().take(calls.max(1)) {
            match self.tags_of(id).await {
                Ok(tags) => {
                    if let Some(account) = organization.accounts.get_mut(&id) {
                        account.tags = tags.unwrap_or_else(|| std::mem::take(&mut account.tags));
                        account.tags_read_ms = now_ms();
                    }
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if organization != before {
            self.put_in_force(organization).await;
        }
        outcome
    }

    /// An account's tags; `None` where the organization does not have it any more.
    async fn tags_of(&mut self, account: AccountId) -> Result<Option<BTreeMap<String, String>>, ReadError> {
        let mut tags = BTreeMap::new();
        let mut pages = Pages::default();
        while let Some(token) = pages.next()? {
            self.pace.wait().await;
            let asked = self.client.list_tags_for_resource().resource_id(account.as_str()).set_next_token(token);
            let answer = match call("ListTagsForResource", asked.send()).await {
                Err(ReadError::Call { code: Some(code), .. }) if code == "TargetNotFoundException" => return Ok(None),
                answered => answered?,
            };
            tags.extend(answer.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())));
            pages.turn(answer.next_token());
        }
        Ok(Some(tags))
    }

    async fn put_in_force(&self, organization: Organization) {
        let registry = Arc::clone(&self.registry);
        let done = tokio::task::spawn_blocking(move || registry.replace_organization(organization));
        if let Err(error) = done.await {
            tracing::error!(%error, "the registry could not be replaced");
        }
    }
}

/// Loads credentials, region and endpoint as every AWS program does. Asks nobody yet, unless the credentials come from a
/// service.
async fn client() -> Client {
    let client = Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https();
    let retries = RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_max_backoff(LONGEST_BACKOFF);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    // Organizations has one endpoint for each partition; the region only says which.
    let from_environment = EnvironmentVariableRegionProvider::new();
    let region = RegionProviderChain::first_try(from_environment).or_else(Region::from_static("us-east-1"));
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .retry_config(retries)
        .timeout_config(timeouts)
        .region(region)
        .load()
        .await;
    Client::new(&config)
}

fn account(
    listed: &types::Account,
    unit: &str,
    tags: BTreeMap<String, String>,
    tags_read_ms: i64,
) -> OrganizationAccount {
    OrganizationAccount {
        name: listed.name().unwrap_or_default().to_owned(),
        state: state(listed),
        unit: unit.to_owned(),
        tags,
        tags_read_ms,
        joined_ms: listed.joined_timestamp().and_then(|at| at.to_millis().ok()),
    }
}

/// From `State`, or from `Status` where that is all there is: AWS retired it in September 2026.
fn state(listed: &types::Account) -> AccountState {
    let name =
        listed.state().map(types::AccountState::as_str).or_else(|| listed.status().map(types::AccountStatus::as_str));
    match name {
        Some("PENDING_ACTIVATION") => AccountState::PendingActivation,
        Some("PENDING_CLOSURE") => AccountState::PendingClosure,
        Some("SUSPENDED") => AccountState::Suspended,
        Some("CLOSED") => AccountState::Closed,
        _ => AccountState::Active,
    }
}

async fn call<T, E, R>(
    operation: &'static str,
    call: impl Future<Output = Result<T, SdkError<E, R>>>,
) -> Result<T, ReadError>
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let error = match call.await {
        Ok(answer) => {
            telemetry::call(operation, "ok");
            return Ok(answer);
        }
        Err(error) => error,
    };
    let code = error.code().map(str::to_owned);
    let throttled = code.as_deref().is_some_and(|code| THROTTLING_CODES.contains(&code));
    telemetry::call(operation, if throttled { "throttled" } else { "error" });
    let message = match (&code, error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.clone(),
        (None, _) => with_causes(&error),
    };
    Err(ReadError::Call { operation, code, message })
}

/// An error and its causes, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Doubles with each failure, with some chance in it.
fn pause_after(failures: u32, refresh: Duration) -> Duration {
    let doubled = refresh.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE.max(refresh));
    doubled.mul_f64(rand::rng().random_range(0.75..=1.0))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_taken_from_the_old_field_where_the_new_one_is_missing() {
        let listed = types::Account::builder().status(types::AccountStatus::Suspended).build();
        assert_eq!(state(&listed), AccountState::Suspended);
        let both = types::Account::builder()
            .status(types::AccountStatus::Active)
            .state(types::AccountState::PendingClosure)
            .build();
        assert_eq!(state(&both), AccountState::PendingClosure);
        let new = types::Account::builder().state(types::AccountState::PendingActivation).build();
        assert_eq!(state(&new), AccountState::PendingActivation);
    }

    #[test]
    fn failures_make_longer_pauses_to_a_bound() {
        let refresh = Duration::from_secs(30);
        assert!(pause_after(1, refresh) <= refresh);
        assert!(pause_after(3, refresh) >= Duration::from_secs(90));
        assert!(pause_after(1000, refresh) <= LONGEST_PAUSE);
    }
}
