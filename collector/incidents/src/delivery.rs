//! From the outbox to one notifier: oldest first, with growing pauses while it is away.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::config::{NotifierConfig, NotifierKind};
use crate::store::{Due, Store, StoreError, Waiting};
use crate::telemetry::Telemetry;

/// The most alerts in one request to an Alertmanager.
const MAX_BATCH: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE_MS: i64 = 1_000;
const MAX_PAUSE_MS: i64 = 5 * 60_000;
/// What could not be delivered for so long is given up.
const MAX_AGE_MS: i64 = 24 * 60 * 60_000;
/// The outbox is looked at so often, even if nobody says that there is something.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How an attempt ended.
enum Outcome {
    Delivered,
    /// It may work later.
    Failed(String),
    /// It will never work.
    Refused(String),
}

pub(crate) struct Delivery {
    pub(crate) notifier: NotifierConfig,
    pub(crate) store: Arc<Store>,
    pub(crate) client: reqwest::Client,
}

impl Delivery {
    /// Delivers until `stop` is true or its sender is gone. `news` changes when something was put into the outbox.
    pub(crate) async fn run(self, mut news: watch::Receiver<u64>, mut stop: watch::Receiver<bool>) {
        loop {
            news.mark_unchanged();
            let wait = match self.round(crate::now_ms()).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(notifier = self.notifier.name, %error, "outbox can't be used");
                    MAX_WAIT
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = news.changed() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Delivers everything that is due; then how long to wait.
    async fn round(&self, now_ms: i64) -> Result<Duration, StoreError> {
        let limit = match self.notifier.kind {
            NotifierKind::Alertmanager => MAX_BATCH,
            NotifierKind::Webhook => 1,
        };
        loop {
            let Due { entries: due, next_ms } =
                self.blocking(move |store, name| store.due(name, now_ms, limit)).await?;
            if due.is_empty() {
                let wait_ms = next_ms.map_or(i64::MAX, |next_ms| next_ms - crate::now_ms());
                let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
                return Ok(wait.min(MAX_WAIT).max(Duration::from_millis(10)));
            }
            self.attempt(due, now_ms).await?;
        }
    }

    async fn attempt(&self, due: Vec<(String, Waiting)>, now_ms: i64) -> Result<(), StoreError> {
        let name = self.notifier.name.as_str();
        let count = due.len();
        let bodies: Vec<&Value> = due.iter().map(|(_, waiting)| &waiting.body).collect();
        match self.send(&bodies).await {
            Outcome::Delivered => {
                Telemetry::get().notified(name, "delivered", count);
                self.blocking(move |store, name| store.delivered(name, &due)).await
            }
            Outcome::Refused(reason) => {
                Telemetry::get().notified(name, "given_up", count);
                tracing::error!(notifier = name, reason, notifications = count, "notifier refuses; given up");
                self.blocking(move |store, name| store.delivered(name, &due)).await
            }
            Outcome::Failed(reason) => {
                let (old, young): (Vec<_>, Vec<_>) =
                    due.into_iter().partition(|(_, waiting)| now_ms - waiting.created_ms > MAX_AGE_MS);
                Telemetry::get().notified(name, "failed", young.len());
                Telemetry::get().notified(name, "given_up", old.len());
                let attempts = young.iter().map(|(_, waiting)| waiting.attempts).max().unwrap_or(0);
                let pause_ms = FIRST_PAUSE_MS.saturating_mul(1 << attempts.min(12)).min(MAX_PAUSE_MS);
                tracing::warn!(notifier = name, reason, attempts, pause_ms, "notification failed");
                let next_ms = crate::now_ms() + pause_ms;
                self.blocking(move |store, name| {
                    store.delivered(name, &old)?;
                    store.postpone(name, &young, next_ms)
                })
                .await
            }
        }
    }

    #[tracing::instrument(
        name = "notify",
        skip_all,
        fields(notifier = self.notifier.name, notifications = bodies.len(), outcome, otel.status_code)
    )]
    async fn send(&self, bodies: &[&Value]) -> Outcome {
        let outcome = self.post(bodies).await;
        let (word, is_error) = match &outcome {
            Outcome::Delivered => ("delivered", false),
            Outcome::Refused(_) => ("refused", true),
            Outcome::Failed(_) => ("failed", true),
        };
        let span = tracing::Span::current();
        span.record("outcome", word);
        if is_error {
            span.record("otel.status_code", "error");
        }
        outcome
    }

    async fn post(&self, bodies: &[&Value]) -> Outcome {
        let base = self.notifier.url.trim_end_matches('/');
        let request = match (self.notifier.kind, bodies) {
            (NotifierKind::Webhook, [body]) => self.client.post(&self.notifier.url).json(body),
            _ => self.client.post(format!("{base}/api/v2/alerts")).json(bodies),
        };
        let answer = match request.timeout(REQUEST_TIMEOUT).send().await {
            Ok(answer) => answer,
            // An error of reqwest's names the URL, which may hold a secret.
            Err(error) => return Outcome::Failed(error.without_url().to_string()),
        };
        let status = answer.status();
        let later = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        match (status.is_success(), later) {
            (true, _) => Outcome::Delivered,
            (false, true) => Outcome::Failed(format!("status {status}")),
            (false, false) => Outcome::Refused(format!("status {status}")),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (store, name) = (Arc::clone(&self.store), self.notifier.name.clone());
        let done = tokio::task::spawn_blocking(move || work(&store, &name)).await;
        done.unwrap_or_else(|error| Err(redb::Error::Io(std::io::Error::other(error)).into()))
    }
}
