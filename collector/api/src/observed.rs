//! What became of each read: who asked, by which route, for which tenants, and how it ended; for who counts reads or writes
//! them down.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use tenantscope_tenancy::Reading;

/// A read that was answered.
#[derive(Debug)]
pub struct Read<'a> {
    /// The route, with the names of its parts: nothing of what was asked for.
    pub route: &'a str,
    /// Who asked, and what it may see.
    pub reading: &'a Reading,
    /// How it ended.
    pub status: StatusCode,
    /// The limit of queries that refused it.
    pub past_limit: Option<&'static str>,
}

impl Read<'_> {
    /// Whether it was a query over data, and no question for names, pages or states.
    pub fn is_query(&self) -> bool {
        const QUERIES: [&str; 7] = [
            "/api/v1/query",
            "/api/v1/query_range",
            "/api/v1/query_exemplars",
            "/federate",
            "/loki/api/v1/query",
            "/loki/api/v1/query_range",
            "/tempo/api/search",
        ];
        QUERIES.contains(&self.route) || self.route.starts_with("/tempo/api/traces/")
    }
}

/// Is told of each read of a reader whose credential was checked.
pub trait ObserveReads: Send + Sync + 'static {
    /// Must not block.
    fn read(&self, read: &Read<'_>);
}

/// What an answer carries that a limit of queries refused: its word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PastLimit(pub(crate) &'static str);

/// Where the extractor leaves who reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadBy(pub(crate) Arc<OnceLock<Reading>>);

/// Routes whose reads are told of.
pub fn observed(routes: Router, observer: Arc<dyn ObserveReads>) -> Router {
    routes.layer(from_fn(move |mut request: Request, next: Next| {
        let observer = Arc::clone(&observer);
        async move {
            let read_by = ReadBy::default();
            let route = request.extensions().get::<MatchedPath>().cloned();
            request.extensions_mut().insert(read_by.clone());
            let response = next.run(request).await;
            if let Some(reading) = read_by.0.get() {
                let route = route.as_ref().map_or("", MatchedPath::as_str);
                let past_limit = response.extensions().get::<PastLimit>().map(|PastLimit(limit)| *limit);
                observer.read(&Read { route, reading, status: response.status(), past_limit });
            }
            response
        }
    }))
}
