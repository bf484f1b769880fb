//! What a reload exchanges: rules, objectives, registry, readers. Everything is read and checked before anything changes.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use parking_lot::RwLock;
use tenantscope_api::Gate;
use tenantscope_rules::Runner;
use tenantscope_slo::Objectives;
use tenantscope_tenancy::{Exposure, Readers, Registry, Tenants};

use crate::check::groups;
use crate::config::Config;

/// Objectives in force.
pub type SharedObjectives = Arc<RwLock<Arc<Objectives>>>;

/// The parts that a reload exchanges.
pub struct Reload {
    /// The configuration file; without one there is nothing to reload.
    pub file: Option<PathBuf>,
    /// Where the listener for readers is.
    pub exposure: Exposure,
    /// The registry.
    pub registry: Option<Arc<Registry>>,
    /// The readers.
    pub gate: Gate,
    /// The rules.
    pub rules: Arc<Runner>,
    /// The objectives.
    pub objectives: SharedObjectives,
}

impl Reload {
    /// Reads the files again; a mistake in any of them leaves everything as it was.
    pub async fn reload(&self) -> Result<()> {
        let reloaded = self.exchange().await;
        match &reloaded {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "configuration not reloaded, nothing was changed")
            }
        }
        reloaded
    }

    async fn exchange(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let config = Config::read(file)?;
        let readers = Readers::try_new(&config.readers, &config.folder, self.exposure)?;
        let (groups, objectives) = groups(&config)?;
        if let Some(registry) = &config.registry {
            Tenants::read(&config.folder.join(&registry.file))?;
        }
        if let Some(registry) = &self.registry {
            registry.reload()?;
        }
        self.rules.reload(groups).await.context("rules")?;
        *self.objectives.write() = Arc::new(objectives);
        self.gate.replace(readers);
        Ok(())
    }
}
