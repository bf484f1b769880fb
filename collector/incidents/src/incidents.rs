use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tenantscope_model::{AccountId, Alert, AlertState, Reporting, Scope, TenantId};
use tenantscope_tenancy::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::book::{Book, Change};
use crate::config::{Config, ConfigError};
use crate::delivery::Delivery;
use crate::incident::HeldAlert;
use crate::payload;
use crate::reach::Member;
use crate::removal::RemovedAlerts;
use crate::store::{Store, StoreError};
use crate::telemetry::Telemetry;
use crate::view::IncidentView;

/// Members without data for so long do not count when a reach is judged.
const MEMBER_MAX_AGE_MS: i64 = 24 * 60 * 60_000;
/// After a start, rules get so long to say again what fires before silence ends it.
const START_GRACE_MS: i64 = 5 * 60_000;
const EXPIRY_INTERVAL: Duration = Duration::from_secs(15);

/// Incidents can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum IncidentsError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client.
    #[error("http client: {0}")]
    Client(#[source] reqwest::Error),
}

/// Alerts in, incidents kept, notifications out. Cloning is cheap; clones are the same.
#[derive(Clone)]
pub struct Incidents(Arc<Shared>);

struct Shared {
    store: Arc<Store>,
    books: Mutex<BTreeMap<String, Book>>,
    config: RwLock<Arc<Config>>,
    reporting: Arc<dyn Reporting>,
    registry: Option<Arc<Registry>>,
    external_url: String,
    opened_ms: i64,
    client: reqwest::Client,
    /// Something was put into the outbox.
    news: watch::Sender<u64>,
    /// The configuration was replaced.
    reloaded: watch::Sender<u64>,
}

impl Incidents {
    /// Opens the file, with what it held. Blocks. Without a registry (open mode) there are no cohorts.
    pub fn open(
        path: &Path,
        config: Config,
        reporting: Arc<dyn Reporting>,
        registry: Option<Arc<Registry>>,
        external_url: &str,
    ) -> Result<Self, IncidentsError> {
        config.check()?;
        // reqwest takes the process's provider; where the program already chose one, that one stays.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(IncidentsError::Client)?;
        let store = Store::open(path)?;
        let names: Vec<&str> = config.notifiers.iter().map(|notifier| notifier.name.as_str()).collect();
        store.forget_others(&names)?;
        let books = Mutex::new(store.books()?);
        Ok(Self(Arc::new(Shared {
            store: Arc::new(store),
            books,
            config: RwLock::new(Arc::new(config)),
            reporting,
            registry,
            external_url: external_url.to_owned(),
            opened_ms: crate::now_ms(),
            client,
            news: watch::Sender::new(0),
            reloaded: watch::Sender::new(0),
        })))
    }

    /// Takes what a rule hands on: its firing and resolved alerts, again and again. `rule` is the rule's stable name.
    /// When it returns, the change and its notifications are durable. Blocks.
    pub fn take(&self, rule: &str, alerts: &[Alert], now_ms: i64) -> Result<(), StoreError> {
        let members = self.members(now_ms);
        let alerts: Vec<Alert> = alerts.iter().filter(|alert| !self.is_quiet(alert, now_ms)).cloned().collect();
        let mut books = self.0.books.lock();
        let before = books.get(rule).cloned().unwrap_or_default();
        let change = before.take(rule, &alerts, &members, now_ms);
        self.commit(&mut books, rule, change, now_ms)
    }

    /// Whether an alert wakes nobody: it is about an account, or about a tenant all of whose accounts settle in or are on
    /// their way out. One that ended is told all the same.
    fn is_quiet(&self, alert: &Alert, now_ms: i64) -> bool {
        let Some(registry) = self.0.registry.as_ref().filter(|_| alert.state != AlertState::Resolved) else {
            return false;
        };
        let account = alert.labels.get("account_id").and_then(|text| AccountId::try_new(text).ok());
        let tenant = alert.labels.get("tenant").and_then(|text| TenantId::try_new(text).ok());
        let quiet = match (account, tenant) {
            (Some(account), _) => registry.is_quiet(account, now_ms),
            (None, Some(tenant)) => registry.is_quiet_tenant(&tenant, now_ms),
            (None, None) => false,
        };
        Telemetry::get().quiet(u64::from(quiet));
        quiet
    }

    /// Ends alerts of which nothing was heard in time. Blocks.
    pub fn expire(&self, now_ms: i64) -> Result<(), StoreError> {
        if now_ms - self.0.opened_ms < START_GRACE_MS {
            return Ok(());
        }
        let members = self.members(now_ms);
        let mut books = self.0.books.lock();
        let changes: Vec<(String, Change)> = books
            .iter()
            .filter_map(|(rule, book)| Some((rule.clone(), book.expire(rule, &members, now_ms)?)))
            .collect();
        for (rule, change) in changes {
            self.commit(&mut books, &rule, change, now_ms)?;
        }
        Ok(())
    }

    /// Forgets a tenant that was removed: its alerts, its incidents, its part in those of several, and what waits to be told
    /// of it. Nobody is told that these are over. Blocks.
    pub fn remove_tenant(&self, tenant: &TenantId) -> Result<RemovedAlerts, StoreError> {
        let mut books = self.0.books.lock();
        let removed = self.0.store.remove_tenant(tenant)?;
        *books = self.0.store.books()?;
        Ok(removed)
    }

    /// Other notifiers and routes from now on. What waits for notifiers that are gone is dropped. Blocks.
    pub fn reload(&self, config: Config) -> Result<(), IncidentsError> {
        config.check()?;
        let names: Vec<&str> = config.notifiers.iter().map(|notifier| notifier.name.as_str()).collect();
        self.0.store.forget_others(&names)?;
        *self.0.config.write() = Arc::new(config);
        self.0.reloaded.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Delivers notifications and ends what falls silent, until `shutdown` is true or its sender is gone. What was
    /// not delivered then waits for the next start.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let mut reloaded = self.0.reloaded.subscribe();
        loop {
            let (stop, stopped) = watch::channel(false);
            let mut tasks = self.deliveries(&stopped);
            let ended = loop {
                tokio::select! {
                    () = tokio::time::sleep(EXPIRY_INTERVAL) => {}
                    _ = reloaded.changed() => break false,
                    () = ended(&mut shutdown) => break true,
                }
                self.upkeep().await;
            };
            stop.send_replace(true);
            while tasks.join_next().await.is_some() {}
            if ended {
                return;
            }
        }
    }

    /// The incidents that a reader of this scope may see, open ones first, then the latest; at most `limit` that ended.
    /// Blocks.
    pub fn list(&self, scope: &Scope, limit: usize) -> Result<Vec<IncidentView>, StoreError> {
        let open: Vec<_> = self.0.books.lock().values().filter_map(|book| book.open.clone()).collect();
        let mut views: Vec<IncidentView> =
            open.iter().filter_map(|incident| IncidentView::of(incident, scope)).collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.opened_ms));
        let ended = self.0.store.ended(usize::MAX)?;
        views.extend(ended.iter().filter_map(|incident| IncidentView::of(incident, scope)).take(limit));
        Ok(views)
    }

    /// How many notifications wait. Blocks.
    pub fn waiting(&self) -> Result<u64, StoreError> {
        self.0.store.waiting()
    }

    fn deliveries(&self, stopped: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for notifier in &self.0.config.read().notifiers {
            let delivery = Delivery {
                notifier: notifier.clone(),
                store: Arc::clone(&self.0.store),
                client: self.0.client.clone(),
            };
            tasks.spawn(delivery.run(self.0.news.subscribe(), stopped.clone()));
        }
        tasks
    }

    async fn upkeep(&self) {
        let incidents = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            Telemetry::get().waiting(incidents.waiting()?);
            incidents.expire(crate::now_ms())
        });
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "incidents can't be kept"),
            Err(error) => tracing::error!(%error, "upkeep of incidents ended"),
        }
    }

    /// Makes a change durable together with its notifications; only then does it count.
    fn commit(
        &self,
        books: &mut BTreeMap<String, Book>,
        rule: &str,
        change: Change,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let config = Arc::clone(&self.0.config.read());
        let registry = self.0.registry.as_ref().map(|registry| registry.tenants());
        let attributes = |alert: &HeldAlert| {
            let tenant = alert.tenant();
            let found = tenant.zip(registry.as_ref()).and_then(|(id, tenants)| tenants.get(&id).cloned());
            found.map(|tenant| tenant.attributes.clone()).unwrap_or_default()
        };
        let reach = change.told.first().or(change.book.open.as_ref()).map(|incident| &incident.reach);
        let mut notifications = payload::alerts_as_they_are(&config, &change.alerts, reach, &attributes);
        for incident in &change.told {
            notifications.extend(payload::incident(&config, incident, &self.0.external_url, &attributes));
        }
        let dropped = self.0.store.commit(rule, &change, &notifications, now_ms)?;
        let telemetry = Telemetry::get();
        telemetry.dropped("notifications", dropped);
        telemetry.dropped("alerts", change.dropped);
        for incident in &change.told {
            let word = match (incident.is_open(), incident.opened_ms == now_ms) {
                (true, true) => "opened",
                (true, false) => "changed",
                (false, _) => "ended",
            };
            telemetry.changed(word);
            let (reach, tenants) = (incident.reach.name(), incident.tenants.len());
            tracing::info!(incident = incident.key, reach, tenants, change = word, "incident");
        }
        if change.book.firing.is_empty() && change.book.open.is_none() {
            books.remove(rule);
        } else {
            books.insert(rule.to_owned(), change.book);
        }
        if !notifications.is_empty() {
            self.0.news.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Tenants with data, and their attributes.
    fn members(&self, now_ms: i64) -> Vec<Member> {
        let seen = self.0.reporting.seen(&Scope::All);
        let fresh = seen.into_iter().filter(|seen| now_ms - seen.last_ms <= MEMBER_MAX_AGE_MS);
        let tenants: BTreeSet<TenantId> = fresh.map(|seen| seen.tenant).collect();
        let registry = self.0.registry.as_ref().map(|registry| registry.tenants());
        let attributes = |tenant: &TenantId| {
            let found = registry.as_ref().and_then(|tenants| tenants.get(tenant));
            found.map(|tenant| tenant.attributes.clone()).unwrap_or_default()
        };
        tenants.into_iter().map(|tenant| Member { attributes: attributes(&tenant), tenant }).collect()
    }
}

/// Resolves when it is time to stop.
async fn ended(shutdown: &mut watch::Receiver<bool>) {
    // The sender is gone: that is the end as well.
    shutdown.wait_for(|stop| *stop).await.ok();
}
