//! What a reload exchanges: rules, objectives, registry, senders' and readers' credentials, certificates, quotas. Everything is read and checked before anything changes.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tenantscope_api::prometheus::PrometheusApi;
use tenantscope_api::{Gate, ObjectivesInForce, QuotasInForce, cost};
use tenantscope_incidents::Incidents;
use tenantscope_ingest::Intake;
use tenantscope_rules::{Clock as _, Groups, Runner, SystemClock};
use tenantscope_slo::Objectives;
use tenantscope_tenancy::{AUDIT, Agents, Exposure, Identity, Readers, Registry};

use crate::audit::Sections;
use crate::certificates::Certificates;
use crate::check::check_config;
use crate::cli::Serve;
use crate::config::Config;

/// The parts that a reload exchanges.
pub(crate) struct Reload {
    /// The command line; without a configuration file there is nothing to reload.
    pub(crate) options: Serve,
    /// Where everything is stored.
    pub(crate) data_dir: PathBuf,
    /// Where the listener for readers is.
    pub(crate) exposure: Exposure,
    /// The certificates of the listeners.
    pub(crate) certificates: Certificates,
    /// Who may send.
    pub(crate) identity: Arc<Identity>,
    /// The way in, for tenants' quotas.
    pub(crate) intake: Arc<Intake>,
    /// What agents go by.
    pub(crate) agents: Arc<Agents>,
    /// The registry.
    pub(crate) registry: Option<Arc<Registry>>,
    /// The readers.
    pub(crate) gate: Gate,
    /// The rules.
    pub(crate) rules: Arc<Runner>,
    /// Notifiers and routes.
    pub(crate) incidents: Arc<Incidents>,
    /// The objectives.
    pub(crate) objectives: ObjectivesInForce,
    /// The limits of queries.
    pub(crate) prometheus: PrometheusApi,
    /// The file as it was read last.
    pub(crate) sections: Mutex<Sections>,
    /// What the tenants' use costs.
    pub(crate) cost: cost::Sources,
    /// What tenants may send, as the pages show it.
    pub(crate) quotas: QuotasInForce,
}

impl Reload {
    /// Reads the files again; a mistake in any of them leaves everything as it was.
    pub(crate) async fn reload(&self, by: &str) -> Result<()> {
        let reloaded = self.exchange().await;
        match &reloaded {
            Ok(()) => {
                let sections = Sections::of(self.options.config.as_deref());
                let before = std::mem::replace(&mut *self.sections.lock(), sections.clone());
                before.tell_reload(&sections, by);
                tracing::info!("configuration reloaded");
            }
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::info!(target: AUDIT, by, reason, "configuration_refused");
                self.prometheus.refused_reload();
                tracing::error!(error = reason, "configuration not reloaded, nothing was changed");
            }
        }
        reloaded
    }

    async fn exchange(&self) -> Result<()> {
        if self.options.config.is_none() {
            return Ok(());
        }
        let options = self.options.clone();
        let (config, (groups, objectives)) = tokio::task::spawn_blocking(move || checked(&options)).await??;
        let readers = Readers::try_new(&config.readers, &config.folder, self.exposure)?;
        let readers = readers.with_registry(self.registry.clone());
        self.certificates.check()?;
        let identity = self.identity.prepare(&config.identity, &config.folder, &self.data_dir)?;
        config.incidents.check()?;
        let documents = Agents::prepare(&config.agents, &config.folder)?;
        config.cost.check().map_err(anyhow::Error::msg)?;
        let (query_limits, quotas, of_all) = (config.query_limits(), config.quotas(), config.bounds_of_all());
        let prepared = match (&self.registry, &config.registry) {
            (Some(registry), Some(block)) => Some((registry, registry.prepare(block, &config.folder)?)),
            (None, None) => None,
            // Who may send at all depends on it, and with it where the listeners may be.
            _ => {
                tracing::warn!("a collector is opened or closed to unknown senders by a restart only");
                None
            }
        };
        // Everything was checked above; what can fail all the same goes first.
        self.rules.reload(groups).await.context("rules")?;
        let agents = Arc::clone(&self.agents);
        let put_in_force = move || agents.put_in_force(documents, SystemClock.now_ms());
        tokio::task::spawn_blocking(put_in_force).await?.context("agents")?;
        if let Some((registry, prepared)) = prepared {
            registry.put_in_force(prepared);
        }
        self.certificates.reload()?;
        self.identity.put_in_force(identity);
        self.objectives.replace(objectives);
        let (incidents, notifiers_and_routes) = (Arc::clone(&self.incidents), config.incidents);
        tokio::task::spawn_blocking(move || incidents.reload(notifiers_and_routes)).await?.context("incidents")?;
        self.gate.replace(readers);
        self.intake.reload(&config.limits);
        self.prometheus.reload(query_limits);
        self.quotas.replace(quotas, of_all);
        self.intake.set_cost(config.cost.clone());
        self.cost.replace(config.cost);
        Ok(())
    }
}

/// The configuration as the files have it now, with its rules and objectives, if nothing is wrong with it.
fn checked(options: &Serve) -> Result<(Config, (Groups, Objectives))> {
    let config = Config::for_serve(options)?;
    let groups = check_config(&config).into_groups()?;
    Ok((config, groups))
}
