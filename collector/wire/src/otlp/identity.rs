//! The identity exchange.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::reply::{self, ReplyForm};
use super::{ReplyBody, body, peer_of};
use crate::{Identify, IdentityRequest, IdentityResponse, MAX_IDENTITY_BYTES, Refused, telemetry};

pub(super) async fn answer<B>(identify: &dyn Identify, timeout: Duration, request: Request<B>) -> Response<ReplyBody>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if request.method() != Method::POST {
        return reply::method_not_allowed();
    }
    match exchange(identify, timeout, request).await {
        Ok(response) => reply::json(StatusCode::OK, &response),
        Err(refused) => {
            telemetry::refused("identity", &refused);
            reply::http_refused(ReplyForm::Json, &refused)
        }
    }
}

async fn exchange<B>(
    identify: &dyn Identify,
    timeout: Duration,
    request: Request<B>,
) -> Result<IdentityResponse, Refused>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let peer = peer_of(&request);
    let json = body::read(request.into_body(), MAX_IDENTITY_BYTES, timeout).await?;
    // The error names the place, never the content: a proof is in there.
    let request: IdentityRequest = serde_json::from_slice(&json).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        Refused::invalid("identity_request", format!("body is no identity request: {:?} at {place}", error.classify()))
    })?;
    identify.identify(request, peer).await
}
