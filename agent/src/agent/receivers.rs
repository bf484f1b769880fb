//! The addresses on which applications send: bound before a change is in force, closed after it is.

use std::net::SocketAddr;
use std::sync::Arc;

use tenantscope_wire::listener::{ListenError, ListenOptions};
use tenantscope_wire::{Listener, OtlpLimits, OtlpService};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::OtlpReceiver;
use crate::receiver::Receiver;
use crate::spool::Spool;

/// Which of `grpc` and `http`, and where.
type Place = (&'static str, SocketAddr);

/// The listeners that are open.
pub(super) struct Receivers {
    service: OtlpService<Receiver>,
    open: Vec<(Place, CancellationToken, JoinHandle<()>)>,
}

/// Listeners that are bound and do not serve yet.
pub(super) struct Bound {
    wanted: Vec<Place>,
    new: Vec<(Place, Listener)>,
}

impl Receivers {
    pub(super) fn new(spool: Spool) -> Self {
        Self { service: OtlpService::new(Arc::new(Receiver::new(spool)), OtlpLimits::default()), open: Vec::new() }
    }

    /// Binds what is not open yet.
    pub(super) async fn bind(&self, otlp: Option<&OtlpReceiver>) -> Result<Bound, ListenError> {
        let (grpc, http) = otlp.map_or((None, None), |otlp| (otlp.grpc, otlp.http));
        let wanted: Vec<Place> =
            [("grpc", grpc), ("http", http)].into_iter().filter_map(|(kind, at)| Some((kind, at?))).collect();
        let mut new = Vec::new();
        for place in wanted.iter().filter(|place| !self.open.iter().any(|(open, ..)| open == *place)) {
            new.push((*place, Listener::bind(place.1, ListenOptions::default()).await?));
        }
        Ok(Bound { wanted, new })
    }

    /// Serves what was bound, and closes what is not wanted any more.
    pub(super) fn serve(&mut self, bound: Bound) {
        for (_, stop, _) in self.open.extract_if(.., |(place, ..)| !bound.wanted.contains(place)) {
            stop.cancel();
        }
        for (place, listener) in bound.new {
            tracing::info!(address = %listener.local_address(), "receiving OTLP");
            let stop = CancellationToken::new();
            let serving = listener.serve(self.service.clone(), stop.clone().cancelled_owned());
            self.open.push((place, stop, tokio::spawn(serving)));
        }
    }

    /// Closes all, and waits for those who send.
    pub(super) async fn close(self) {
        for (_, stop, _) in &self.open {
            stop.cancel();
        }
        for (_, _, serving) in self.open {
            // A listener neither panics nor is aborted.
            let _ = serving.await;
        }
    }
}
