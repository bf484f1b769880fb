//! An OTLP server that remembers what it took, built from the parts that the collector's own is built from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use parking_lot::Mutex;
use tenantscope_codec::{Decision, DecodeLimits, OtlpRequest, Record, RecordBody, decode};
use tenantscope_model::{Signal, Stamp, TenantId};
use tenantscope_wire::listener::ListenOptions;
use tenantscope_wire::{
    Accepted, BatchHeader, Listener, OtlpLimits, OtlpService, Peer, Receive, ReceivedBody, Refused, Reserved,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What the next request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Take,
    Unavailable,
    Throttled,
    Invalid,
}

#[derive(Default)]
struct State {
    taken: Vec<(BatchHeader, ReceivedBody)>,
    verdicts: VecDeque<Verdict>,
    attempts: usize,
    unauthorized: usize,
    token: Option<String>,
}

/// What came.
#[derive(Default)]
pub(crate) struct Received(Mutex<State>);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) received: Arc<Received>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(address: Option<SocketAddr>) -> Self {
        Self::start_with(address, Arc::default()).await
    }

    pub(crate) async fn start_with(address: Option<SocketAddr>, received: Arc<Received>) -> Self {
        let address = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Listener::bind(address, ListenOptions::default()).await.unwrap();
        let address = listener.local_address();
        let service = OtlpService::new(Arc::clone(&received), OtlpLimits::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(listener.serve(service, async move { drop(stopped.await) }));
        Self { address, received, stop, task }
    }

    pub(crate) async fn stop(self) -> Arc<Received> {
        let _ = self.stop.send(());
        self.task.await.unwrap();
        self.received
    }
}

impl Receive for Received {
    type Sender = ();
    type Permit = ();

    async fn authorize(&self, headers: &HeaderMap, _: Peer) -> Result<(), Refused> {
        let mut state = self.0.lock();
        let expected = state.token.as_ref().map(|token| format!("Bearer {token}"));
        let given = headers.get("authorization").and_then(|value| value.to_str().ok());
        if expected.as_deref().is_some_and(|expected| given != Some(expected)) {
            state.unauthorized += 1;
            return Err(Refused::unauthenticated("token", "unknown token"));
        }
        Ok(())
    }

    fn reserve(&self, (): &(), _: Signal, declared_bytes: Option<usize>) -> Result<Reserved<()>, Refused> {
        Ok(Reserved { permit: (), max_bytes: declared_bytes.unwrap_or(1 << 20) })
    }

    async fn receive(
        &self,
        (): (),
        body: ReceivedBody,
        header: Option<BatchHeader>,
        (): (),
    ) -> Result<Accepted, Refused> {
        let mut state = self.0.lock();
        state.attempts += 1;
        let soon = Duration::from_millis(10);
        match state.verdicts.pop_front().unwrap_or(Verdict::Take) {
            Verdict::Take => state.taken.push((header.unwrap(), body)),
            Verdict::Unavailable => return Err(Refused::unavailable("test", "away", soon)),
            Verdict::Throttled => return Err(Refused::throttled("test", "slower", soon)),
            Verdict::Invalid => return Err(Refused::invalid("test", "never")),
        }
        Ok(Accepted::default())
    }
}

impl Received {
    pub(crate) fn answer_next(&self, verdicts: impl IntoIterator<Item = Verdict>) {
        self.0.lock().verdicts.extend(verdicts);
    }

    pub(crate) fn require_token(&self, token: &str) {
        self.0.lock().token = Some(token.to_owned());
    }

    pub(crate) fn attempts(&self) -> usize {
        self.0.lock().attempts
    }

    pub(crate) fn unauthorized(&self) -> usize {
        self.0.lock().unauthorized
    }

    pub(crate) fn sequences(&self) -> Vec<u64> {
        self.0.lock().taken.iter().map(|(header, _)| header.sequence).collect()
    }

    fn requests(&self) -> Vec<(BatchHeader, OtlpRequest)> {
        let taken = self.0.lock().taken.clone();
        taken.into_iter().map(|(header, body)| (header, request_of(body))).collect()
    }

    /// The log lines, in the order in which they came.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().flat_map(|(_, request)| lines_of(&request)).collect()
    }

    pub(crate) fn distinct_lines(&self) -> BTreeSet<String> {
        self.lines().into_iter().collect()
    }

    /// What is left when only batches newer than the newest of their lane and epoch count.
    pub(crate) fn stored_once(&self) -> Vec<String> {
        let mut newest: BTreeMap<(String, String, u64), u64> = BTreeMap::new();
        let mut stored = Vec::new();
        for (header, request) in self.requests() {
            let lane = (header.agent.as_str().to_owned(), header.lane.as_str().to_owned(), header.epoch);
            let newest = newest.entry(lane).or_default();
            if header.sequence > *newest {
                *newest = header.sequence;
                stored.extend(lines_of(&request));
            }
        }
        stored
    }

    pub(crate) fn tenants(&self) -> BTreeSet<String> {
        let claims = self
            .0
            .lock()
            .taken
            .iter()
            .flat_map(|(_, body)| decode(body, &DecodeLimits::REPLAY).unwrap().claims())
            .collect::<Vec<_>>();
        claims.into_iter().filter_map(|claim| claim.tenant).collect()
    }

    pub(crate) fn metrics(&self) -> Vec<String> {
        let requests = self.requests().into_iter().map(|(_, request)| request);
        let resources = requests.flat_map(|request| match request {
            OtlpRequest::Metrics(request) => request.resource_metrics,
            OtlpRequest::Logs(_) | OtlpRequest::Spans(_) => Vec::new(),
        });
        let metrics = resources.flat_map(|resource| resource.scope_metrics).flat_map(|scope| scope.metrics);
        metrics.map(|metric| metric.name).collect()
    }
}

fn lines_of(request: &OtlpRequest) -> Vec<String> {
    let OtlpRequest::Logs(request) = request else { return Vec::new() };
    let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    let bodies = scopes.flat_map(|scope| &scope.log_records).filter_map(|record| record.body.as_ref());
    bodies
        .filter_map(|body| match &body.value {
            Some(Value::StringValue(line)) => Some(line.clone()),
            _ => None,
        })
        .collect()
}

/// Decodes a body by way of a record, whose stamp does not matter here.
fn request_of(body: ReceivedBody) -> OtlpRequest {
    let claims = decode(&body, &DecodeLimits::REPLAY).unwrap().claims();
    let stamp = Stamp { tenant: TenantId::anonymous(), account: None, region: None };
    let decisions = claims.iter().map(|_| Decision::Stamp(stamp.clone())).collect();
    let body = RecordBody::Received { decisions, body };
    Record::new(0, body).to_otlp().unwrap()
}
