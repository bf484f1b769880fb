use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use tenantscope_model::Scope;
use tokio::sync::Semaphore;

use crate::answer::TimeRange;
use crate::scan::ScopedTable;
use crate::store::Store;
use crate::{Options, QueryError, telemetry};

/// Runs queries within the limits: memory for all of them together, how many at a time, and how long.
pub(crate) struct Queries {
    runtime: Arc<RuntimeEnv>,
    running: Semaphore,
    timeout: Duration,
}

impl Queries {
    pub(crate) fn new(options: &Options) -> Result<Self, datafusion::error::DataFusionError> {
        // A query that needs more memory fails; spilling would make disk use unbounded instead.
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(options.query_memory_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let running = Semaphore::new(options.query_concurrency.max(1));
        Ok(Self { runtime, running, timeout: options.query_timeout })
    }

    /// The records of a signal within a scope, as something to query.
    pub(crate) fn table(&self, store: &Store, scope: &Scope, range: TimeRange) -> Result<DataFrame, QueryError> {
        let mut config = SessionConfig::new().with_target_partitions(2).with_information_schema(false);
        config.options_mut().execution.parquet.pushdown_filters = true;
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime));
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
            query.await
        };
        let answer = tokio::time::timeout(self.timeout, within_limits).await;
        timer.observe_duration();
        answer.unwrap_or(Err(QueryError::TimedOut(self.timeout)))
    }
}

/// Hands each batch to `take` as it comes, until it says that it has enough.
pub(crate) async fn for_each(
    frame: DataFrame,
    mut take: impl FnMut(&RecordBatch) -> Result<Flow, QueryError>,
) -> Result<(), QueryError> {
    let mut stream: SendableRecordBatchStream = frame.execute_stream().await?;
    while let Some(rows) = stream.try_next().await? {
        if take(&rows)? == Flow::Enough {
            break;
        }
        // A long scan over cached files never waits by itself, and the deadline needs a moment to act.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Whether a query wants more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    More,
    Enough,
}
