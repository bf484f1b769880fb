//! Where queries run: on blocking threads, so many at once, so many waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tenantscope_model::QueryBudget;
use tokio::sync::Semaphore;

use super::answer::ApiError;
use super::telemetry::TELEMETRY;

/// Runs queries. Clones share the room.
#[derive(Clone)]
pub(super) struct Pool {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    max_waiting: usize,
}

/// Counts a query that waits, until it is dropped.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Cancels a query when its handler is dropped, which is when the client goes away.
struct CancelOnDrop(Arc<QueryBudget>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Counts a request when it ends, be it because its client went away.
struct Counted {
    begun: Instant,
    outcome: &'static str,
}

impl Drop for Counted {
    fn drop(&mut self) {
        TELEMETRY.queries.with_label_values(&[self.outcome]).inc();
        TELEMETRY.seconds.observe(self.begun.elapsed().as_secs_f64());
    }
}

impl Pool {
    pub(super) fn new(concurrency: usize, max_waiting: usize) -> Self {
        Self { running: Arc::new(Semaphore::new(concurrency.max(1))), waiting: Arc::default(), max_waiting }
    }

    /// Runs blocking work within time and samples. The time spent waiting counts.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        max_samples: u64,
        work: impl FnOnce(&QueryBudget) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let mut counted = Counted { begun: Instant::now(), outcome: "canceled" };
        let deadline = counted.begun + timeout;
        let answer = self.run_until(deadline, max_samples, work).await;
        counted.outcome = answer.as_ref().map_or_else(ApiError::kind, |_| "success");
        answer
    }

    async fn run_until<T: Send + 'static>(
        &self,
        deadline: Instant,
        max_samples: u64,
        work: impl FnOnce(&QueryBudget) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = self.permit(deadline).await?;
        let budget = Arc::new(QueryBudget::new(deadline, max_samples));
        let cancel = CancelOnDrop(Arc::clone(&budget));
        // The permit goes with the work: what was given up still uses a core until it notices.
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&budget)
        });
        let answer = task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "query ended abnormally");
            Err(ApiError::Internal("the query ended abnormally".to_owned()))
        });
        drop(cancel);
        answer
    }

    async fn permit(&self, deadline: Instant) -> Result<tokio::sync::OwnedSemaphorePermit, ApiError> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(Arc::clone(&self.waiting));
        if ahead >= self.max_waiting {
            return Err(ApiError::Unavailable(format!("{ahead} queries wait already")));
        }
        let permit = tokio::time::timeout_at(deadline.into(), Arc::clone(&self.running).acquire_owned()).await;
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(ApiError::Unavailable("shutting down".to_owned())),
            Err(_) => Err(ApiError::Timeout("query timed out in query queue".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_query_too_many_is_refused() {
        let pool = Pool::new(1, 0);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = pool.clone();
        let (started, running) = tokio::sync::oneshot::channel();
        let first = tokio::spawn(async move {
            busy.run(Duration::from_secs(60), 1, move |_| {
                let _ = started.send(());
                let _ = held.recv();
                Ok(())
            })
            .await
        });
        running.await.unwrap();
        let second = pool.run(Duration::from_secs(60), 1, |_| Ok(())).await;
        assert!(matches!(second, Err(ApiError::Unavailable(_))));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_dropped_request_cancels_its_work() {
        let pool = Pool::new(1, 0);
        let (sender, ended) = std::sync::mpsc::channel();
        let (started, running) = tokio::sync::oneshot::channel();
        let request = tokio::spawn({
            let pool = pool.clone();
            async move {
                pool.run(Duration::from_secs(60), 1, move |budget| {
                    let _ = started.send(());
                    while budget.check().is_ok() {
                        std::thread::yield_now();
                    }
                    let _ = sender.send(budget.check());
                    Ok(())
                })
                .await
            }
        });
        running.await.unwrap();
        request.abort();
        let seen = tokio::task::spawn_blocking(move || ended.recv().unwrap()).await.unwrap();
        assert_eq!(seen, Err(tenantscope_model::SelectError::Cancelled));
    }
}
