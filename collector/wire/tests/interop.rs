//! The same protocol as others speak it: tonic's client against our service, our client against tonic's server, which
//! one of our listeners carries.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use prost::Message;
use tenantscope_model::Signal;
use tenantscope_wire::client::{ClientOptions, OtlpClient, Protocol, SendErrorKind};
use tenantscope_wire::listener::{ListenOptions, Listener};
use tenantscope_wire::{
    Accepted, BatchHeader, Encoding, OtlpLimits, OtlpService, Peer, Receive, ReceivedBody, Refused, Reserved,
};
use tonic::{Code, Request, Response, Status};

/// Rejects as many records as there are resources; a request without any is too much for now.
struct Desk;

impl Receive for Desk {
    type Sender = ();
    type Permit = ();

    async fn authorize(&self, _: &HeaderMap, _: Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn reserve(&self, (): &(), _: Signal, declared_bytes: Option<usize>) -> Result<Reserved<()>, Refused> {
        Ok(Reserved { permit: (), max_bytes: declared_bytes.unwrap_or(1 << 20) })
    }

    async fn receive(&self, (): (), body: ReceivedBody, _: Option<BatchHeader>, (): ()) -> Result<Accepted, Refused> {
        let request = ExportLogsServiceRequest::decode(body.bytes).unwrap();
        match request.resource_logs.len() {
            0 => Err(Refused::throttled("rate", "slower: 100 %", Duration::from_millis(1500))),
            count => Ok(Accepted { rejected: count as u64, message: "too old".to_owned(), ..Accepted::default() }),
        }
    }
}

/// The same, as tonic has it.
#[tonic::async_trait]
impl LogsService for Desk {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        match request.into_inner().resource_logs.len() {
            0 => Err(Status::resource_exhausted("slower")),
            count => {
                let rejected_log_records = i64::try_from(count).unwrap();
                let error_message = "too old".to_owned();
                let partial_success = Some(ExportLogsPartialSuccess { rejected_log_records, error_message });
                Ok(Response::new(ExportLogsServiceResponse { partial_success }))
            }
        }
    }
}

async fn listener() -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenOptions::default()).await.unwrap();
    let address = listener.local_address();
    (listener, address)
}

fn logs(resources: usize) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs::default(); resources] }
}

#[tokio::test]
async fn a_tonic_client_understands_our_service() {
    let (listener, address) = listener().await;
    let service = OtlpService::new(Arc::new(Desk), OtlpLimits::default());
    tokio::spawn(listener.serve(service, std::future::pending()));
    let mut client = LogsServiceClient::connect(format!("http://{address}")).await.unwrap();
    let partial = client.export(logs(2)).await.unwrap().into_inner().partial_success.unwrap();
    assert_eq!((partial.rejected_log_records, partial.error_message.as_str()), (2, "too old"));
    let status = client.export(logs(0)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "slower: 100 %"));
    // google.rpc.Status{8, message, [Any{RetryInfo url, RetryInfo{Duration{1 s, 500,000,000 ns}}}]}
    let details = status.details();
    assert_eq!(details[..2], [0x08, 8]);
    let retry_info = [0x0a, 8, 0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
    assert!(details.windows(retry_info.len()).any(|window| window == retry_info), "{details:?}");
}

#[tokio::test]
async fn our_client_understands_a_tonic_server_on_our_listener() {
    let (listener, address) = listener().await;
    let routes = tonic::service::Routes::new(LogsServiceServer::new(Desk)).prepare();
    tokio::spawn(listener.serve(routes, std::future::pending()));
    let client = OtlpClient::try_new(&ClientOptions::new(format!("http://{address}"), Protocol::Grpc)).unwrap();
    let send = async |signal, request: ExportLogsServiceRequest| {
        client.send(signal, Encoding::Identity, Bytes::from(request.encode_to_vec()), &HeaderMap::new()).await
    };
    let accepted = send(Signal::Logs, logs(2)).await;
    assert_eq!(accepted, Ok(Accepted { rejected: 2, message: "too old".to_owned(), ..Accepted::default() }));
    // Without a delay, OTLP says, there is no point in trying again.
    let refused = send(Signal::Logs, logs(0)).await.unwrap_err();
    assert_eq!((refused.kind, refused.retry_after), (SendErrorKind::Refused, None));
    let unimplemented = send(Signal::Spans, logs(1)).await.unwrap_err();
    assert_eq!(unimplemented.kind, SendErrorKind::Refused);
}
