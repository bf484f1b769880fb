//! Where queries run: on blocking threads, when it is their turn, within time and bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantscope_model::{QueryBudget, QueryMemory};
use tenantscope_rules::format_duration;
use tenantscope_tenancy::Reading;

use super::answer::{ApiError, past};
use super::limits::{Bounds, QueryLimits};
use super::queue::{NoTurn, Queue, Turn};
use super::telemetry::{Limit, TELEMETRY};

/// Runs queries. Clones share the room.
#[derive(Clone)]
pub(super) struct Pool {
    queue: Queue,
    memory: Arc<QueryMemory>,
}

/// What is about to run.
pub(super) struct Job<'a> {
    /// For whom.
    pub(super) reader: &'a Reading,
    /// The limits in force.
    pub(super) limits: &'a QueryLimits,
    /// What this query may use of them.
    pub(super) bounds: Bounds,
    /// The time that the request itself allows.
    pub(super) asked_timeout: Option<Duration>,
    /// Count the samples of so many times.
    pub(super) count_steps: Option<usize>,
}

/// What runs.
pub(super) struct Run {
    /// What it may use.
    pub(super) budget: Arc<QueryBudget>,
    /// How long it waited.
    pub(super) queued: Duration,
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
    /// Runs queries within this memory, which others may share.
    pub(super) fn new(memory: Arc<QueryMemory>) -> Self {
        TELEMETRY.memory.add(&memory);
        Self { queue: Queue::default(), memory }
    }

    /// Runs blocking work within its bounds. The time spent waiting counts.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: Job<'_>,
        work: impl FnOnce(Run) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let mut counted = Counted { begun: Instant::now(), outcome: "canceled" };
        let answer = self.run_since(counted.begun, job, work).await;
        counted.outcome = answer.as_ref().map_or_else(ApiError::kind, |_| "success");
        answer
    }

    async fn run_since<T: Send + 'static>(
        &self,
        begun: Instant,
        job: Job<'_>,
        work: impl FnOnce(Run) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let own_timeout = job.asked_timeout.filter(|asked| *asked <= job.bounds.timeout);
        let deadline = begun + own_timeout.unwrap_or(job.bounds.timeout);
        let late = |message: String| {
            let message = match own_timeout {
                Some(_) => message,
                None => format!("{message} (query.timeout: {})", format_duration(job.bounds.timeout)),
            };
            past(Limit::Time, ApiError::Timeout(message))
        };
        let turn = self.queue.turn(job.reader, job.limits.room(), job.bounds.room, deadline).await;
        let queued = begun.elapsed();
        TELEMETRY.queue_seconds.observe(queued.as_secs_f64());
        let turn = turn.map_err(|no_turn| match no_turn {
            NoTurn::QueueFull(waiting) => {
                let message = format!("{waiting} queries wait already (query.max_waiting)");
                past(Limit::Queue, ApiError::Unavailable(message))
            }
            NoTurn::LineFull(waiting) => {
                let message = format!("{waiting} queries of this reader wait already (query.max_waiting_per_reader)");
                past(Limit::ReaderQueue, ApiError::Unavailable(message))
            }
            NoTurn::TimedOut => late("query timed out in query queue".to_owned()),
        })?;
        let mut budget = QueryBudget::bounded(deadline, job.bounds.query, Some(Arc::clone(&self.memory)));
        if let Some(steps) = job.count_steps {
            budget = budget.with_steps(steps);
        }
        let run = Run { budget: Arc::new(budget), queued };
        match blocking(turn, run, work).await {
            Err(ApiError::Timeout(message)) => Err(late(message)),
            other => other,
        }
    }
}

async fn blocking<T: Send + 'static>(
    turn: Turn,
    run: Run,
    work: impl FnOnce(Run) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let cancel = CancelOnDrop(Arc::clone(&run.budget));
    // The turn goes with the work: what was given up still uses a core until it notices.
    let task = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(run)
    });
    let answer = task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "query ended abnormally");
        Err(ApiError::Internal("the query ended abnormally".to_owned()))
    });
    drop(cancel);
    answer
}

#[cfg(test)]
mod tests {
    use tenantscope_model::{Scope, SelectError};

    use super::*;

    struct Bench {
        pool: Pool,
        limits: QueryLimits,
        reader: Reading,
    }

    impl Bench {
        fn new(limits: QueryLimits) -> Arc<Self> {
            let reader = Reading { reader: Arc::default(), allowed: Scope::All, scope: Scope::All };
            Arc::new(Self { pool: Pool::new(Arc::new(QueryMemory::new(limits.memory_max_bytes))), limits, reader })
        }

        async fn run<T: Send + 'static>(
            &self,
            work: impl FnOnce(Run) -> Result<T, ApiError> + Send + 'static,
        ) -> Result<T, ApiError> {
            let bounds = self.limits.within(&self.reader.scope, None);
            let (reader, limits) = (&self.reader, &self.limits);
            self.pool.run(Job { reader, limits, bounds, asked_timeout: None, count_steps: None }, work).await
        }
    }

    #[tokio::test]
    async fn one_query_too_many_is_refused_with_the_limit_named() {
        let limits = QueryLimits { max_concurrent: 1, max_waiting: 0, ..QueryLimits::default() };
        let bench = Bench::new(limits);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let bench = Arc::clone(&bench);
            async move {
                let work = move |_| {
                    let _ = started.send(());
                    let _ = held.recv();
                    Ok(())
                };
                bench.run(work).await
            }
        });
        running.await.unwrap();
        let second = bench.run(|_| Ok(())).await;
        let expected = ApiError::Unavailable("0 queries wait already (query.max_waiting)".to_owned());
        assert_eq!(second, Err(ApiError::Past(Limit::Queue, Box::new(expected))));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn time_in_the_queue_counts_and_the_limit_is_named() {
        let limits = QueryLimits { max_concurrent: 1, timeout: Duration::from_millis(20), ..QueryLimits::default() };
        let bench = Bench::new(limits);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let bench = Arc::clone(&bench);
            async move {
                let work = move |run: Run| {
                    let _ = started.send(());
                    let _ = held.recv();
                    Ok(run.budget.check()?)
                };
                bench.run(work).await
            }
        });
        running.await.unwrap();
        let named = "(query.timeout: 20ms)";
        let second = bench.run(|_| Ok(())).await;
        let timed_out = |place: &str| {
            let error = ApiError::Timeout(format!("query timed out in {place} {named}"));
            Err(ApiError::Past(Limit::Time, Box::new(error)))
        };
        assert_eq!(second, timed_out("query queue"));
        release.send(()).unwrap();
        let first = first.await.unwrap();
        assert_eq!(first, timed_out("expression evaluation"));
    }

    #[tokio::test]
    async fn a_dropped_request_cancels_its_work() {
        let bench = Bench::new(QueryLimits::default());
        let (sender, ended) = std::sync::mpsc::channel();
        let (started, running) = tokio::sync::oneshot::channel();
        let request = tokio::spawn(async move {
            let work = move |run: Run| {
                let _ = started.send(());
                while run.budget.check().is_ok() {
                    std::thread::yield_now();
                }
                let _ = sender.send(run.budget.check());
                Ok(())
            };
            bench.run(work).await
        });
        running.await.unwrap();
        request.abort();
        let seen = tokio::task::spawn_blocking(move || ended.recv().unwrap()).await.unwrap();
        assert_eq!(seen, Err(SelectError::Cancelled));
    }
}
