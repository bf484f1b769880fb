//! The objectives in force, and what is asked of them: shared by our own API and the pages.

use std::sync::Arc;

use parking_lot::RwLock;
use tenantscope_model::{Evaluate, Scope};
use tenantscope_slo::{Audience, Budget, Objectives, Period, Report};
use tokio::sync::Semaphore;

/// Reports and budgets computed at the same time; more wait.
const CONCURRENT: usize = 2;

/// Objectives over an evaluator; clones share them, and a reload exchanges them for all.
#[derive(Clone)]
pub struct ObjectivesInForce {
    current: Arc<RwLock<Arc<Objectives>>>,
    evaluate: Arc<dyn Evaluate>,
    permits: Arc<Semaphore>,
}

impl ObjectivesInForce {
    /// These objectives, evaluated so.
    pub fn new(objectives: Objectives, evaluate: Arc<dyn Evaluate>) -> Self {
        let current = Arc::new(RwLock::new(Arc::new(objectives)));
        Self { current, evaluate, permits: Arc::new(Semaphore::new(CONCURRENT)) }
    }

    /// Other objectives from now on.
    pub fn replace(&self, objectives: Objectives) {
        *self.current.write() = Arc::new(objectives);
    }

    /// What people call an objective.
    pub(crate) fn display_name(&self, objective: &str) -> String {
        let objectives = Arc::clone(&self.current.read());
        objectives.get(objective).map_or_else(|| objective.to_owned(), |known| known.display_name.clone())
    }

    /// The budgets within the scope.
    pub(crate) async fn budgets(&self, scope: Scope, at_ms: i64) -> Result<Vec<Budget>, String> {
        self.ask(move |objectives, evaluate| objectives.budgets(evaluate, &scope, at_ms)).await
    }

    /// A report.
    pub(crate) async fn report(&self, audience: Audience, period: Period, now_ms: i64) -> Result<Report, String> {
        self.ask(move |objectives, evaluate| objectives.report(evaluate, &audience, &period, now_ms)).await
    }

    async fn ask<T, E>(
        &self,
        question: impl FnOnce(&Objectives, &dyn Evaluate) -> Result<T, E> + Send + 'static,
    ) -> Result<T, String>
    where
        T: Send + 'static,
        E: ToString,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|error| error.to_string())?;
        let (objectives, evaluate) = (Arc::clone(&self.current.read()), Arc::clone(&self.evaluate));
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            question(&objectives, &*evaluate).map_err(|error| error.to_string())
        });
        asked.await.map_err(|error| error.to_string())?
    }
}
