//! The stores and the way into them, opened in the order in which they need each other.

use std::sync::Arc;

use anyhow::{Context, Result};
use tenantscope_ingest::{Intake, Stores, journal_id};
use tenantscope_journal::make_folder;
use tenantscope_lake::{Journals, Lake};
use tenantscope_metrics::MetricStore;
use tenantscope_model::Signal;
use tenantscope_rules::{Clock as _, SystemClock};
use tenantscope_tenancy::{Agents, Identity, Registry};

use crate::config::Config;

/// What is open.
pub(crate) struct Opened {
    /// Series.
    pub(crate) metrics: Arc<MetricStore>,
    /// Logs and spans.
    pub(crate) lake: Arc<Lake>,
    /// The way in.
    pub(crate) intake: Arc<Intake>,
    /// What agents go by.
    pub(crate) agents: Arc<Agents>,
    /// Who may use it.
    pub(crate) identity: Arc<Identity>,
}

/// Opens the stores, then the journals, which replays into the stores what their files lack. Blocks, possibly for long.
pub(crate) fn open(config: &Config, identity: Arc<Identity>, registry: Option<Arc<Registry>>) -> Result<Opened> {
    let dir = config.data_dir();
    // What is wrong with the documents is told at once, not after a replay.
    let documents = Agents::prepare(&config.agents, &config.folder)?;
    let journals = dir.join("journal");
    let folder = dir.join("metrics");
    // A power cut must not take a new folder with all that was acknowledged since.
    for folder in [&journals, &folder, &dir.join("lake")] {
        make_folder(folder).with_context(|| folder.display().to_string())?;
    }
    let options = config.metrics.options(&folder, registry.clone());
    let metrics = MetricStore::open(&folder, options).context("metric store")?;
    // It flushes while the journal is replayed too, so that a long replay does not have to fit into memory.
    metrics.run().context("threads of the metric store")?;
    let ids = Journals { logs: journal_id(&journals, Signal::Logs)?, spans: journal_id(&journals, Signal::Spans)? };
    let lake = Arc::new(Lake::open(&dir.join("lake"), ids, config.lake.options()).context("lake")?);
    let stores = Stores::new(Arc::clone(&metrics), lake.logs(), lake.spans());
    let agents = Agents::open(documents, &dir, registry.clone(), SystemClock.now_ms()).context("agents")?;
    let agents = Arc::new(agents);
    let intake = Intake::open(
        &journals,
        &stores,
        Arc::clone(&identity),
        registry,
        config.limits.clone(),
        &config.journal.options(),
    )
    .context("journals")?;
    let intake = Arc::new(intake.with_agents(Arc::clone(&agents)));
    Ok(Opened { metrics, lake, intake, agents, identity })
}

impl Opened {
    /// Writes what only memory and journals hold into the stores' files, so that the next start replays little. Blocks.
    pub(crate) fn close(&self) {
        self.lake.close();
        if let Err(error) = self.metrics.stop() {
            tracing::warn!(%error, "the last flush of the metric store failed; its journal has everything");
        }
    }
}
