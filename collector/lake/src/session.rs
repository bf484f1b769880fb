use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use tenantscope_model::Scope;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::answer::TimeRange;
use crate::scan::ScopedTable;
use crate::store::Store;
use crate::{Options, QueryError, telemetry};

/// Threads for all plans together, and the partitions of each.
const PLAN_THREADS: usize = 2;
/// Batches that a plan may be ahead of who reads them.
const BATCHES_AHEAD: usize = 2;

/// Runs queries within the limits: memory for all of them together, how many at a time, and how long. Plans run on
/// threads of their own, so that a long scan delays no request of anybody else.
pub(crate) struct Queries {
    threads: Option<Runtime>,
    environment: Arc<RuntimeEnv>,
    running: Semaphore,
    timeout: Duration,
    /// How often each table had files deleted that a query may still need.
    early_deletions: [Arc<AtomicUsize>; 2],
}

impl Queries {
    pub(crate) fn new(options: &Options, early_deletions: [Arc<AtomicUsize>; 2]) -> Result<Self, DataFusionError> {
        // A query that needs more memory fails; spilling would make disk use unbounded instead.
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(options.query_memory_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let threads = threads.worker_threads(PLAN_THREADS).thread_name("lake-query").enable_all().build()?;
        let running = Semaphore::new(options.query_concurrency.max(1));
        Ok(Self { threads: Some(threads), environment, running, timeout: options.query_timeout, early_deletions })
    }

    /// The records of a signal within a scope, as something to query.
    pub(crate) fn table(&self, store: &Store, scope: &Scope, range: TimeRange) -> Result<DataFrame, QueryError> {
        let mut config = SessionConfig::new().with_target_partitions(PLAN_THREADS).with_information_schema(false);
        config.options_mut().execution.parquet.pushdown_filters = true;
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.environment));
        Ok(context.read_table(Arc::new(ScopedTable::new(store, scope, range)?))?)
    }

    /// Runs one query of a kind (a label of the latency metric) until its deadline.
    pub(crate) async fn run<T>(
        &self,
        kind: &str,
        query: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        let timer = telemetry::query_seconds(kind).start_timer();
        let within_limits = async {
            let _running = self.running.acquire().await;
            let before = self.early_deletions();
            let answer = query.await;
            match answer {
                // What is missing says so in many ways, depending on who looked for it.
                Err(QueryError::Store(_)) if self.early_deletions() != before => Err(QueryError::Removed),
                answer => answer,
            }
        };
        let answer = tokio::time::timeout(self.timeout, within_limits).await;
        timer.observe_duration();
        answer.unwrap_or(Err(QueryError::TimedOut(self.timeout)))
    }

    fn early_deletions(&self) -> [usize; 2] {
        self.early_deletions.each_ref().map(|deletions| deletions.load(Ordering::Relaxed))
    }

    /// Hands each batch of a plan to `take` as it comes.
    pub(crate) async fn for_each(
        &self,
        frame: DataFrame,
        mut take: impl FnMut(&RecordBatch) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let Some(threads) = &self.threads else { return Ok(()) };
        let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
        // Dropping the set ends the plan: at the deadline, or when the reader goes away.
        let mut plan = JoinSet::new();
        plan.spawn_on(send_batches(frame, sender), threads.handle());
        while let Some(rows) = batches.recv().await {
            take(&rows?)?;
        }
        match plan.join_next().await {
            Some(Err(error)) => Err(QueryError::Store(DataFusionError::External(Box::new(error)))),
            _ => Ok(()),
        }
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        // An ordinary drop waits for its threads, which an async caller must not.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

async fn send_batches(frame: DataFrame, sender: mpsc::Sender<Result<RecordBatch, DataFusionError>>) {
    let mut stream = match frame.execute_stream().await {
        Ok(stream) => stream,
        Err(error) => return drop(sender.send(Err(error)).await),
    };
    while let Some(rows) = stream.next().await {
        let failed = rows.is_err();
        if sender.send(rows).await.is_err() || failed {
            return;
        }
    }
}
