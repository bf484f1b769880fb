//! What is around every answer: headers for browsers on other pages, compression, and what Prometheus answers where
//! it has no route.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;

use super::compression::{Coding, Compressor};

/// A shorter body is not compressed.
const COMPRESSED_FROM_BYTES: u64 = 1024;

/// Adds what every answer has.
pub(super) async fn around(request: Request, next: Next) -> Response {
    let coding = Coding::accepted(request.headers());
    let has_origin = request.headers().contains_key(header::ORIGIN);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if has_origin {
        for (name, value) in FOR_OTHER_ORIGINS {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    match coding {
        Some(coding) if is_worth_it(&response) => compressed(response, coding),
        _ => response,
    }
}

/// As in Prometheus. No page gets the browser's own credentials by these.
const FOR_OTHER_ORIGINS: [(HeaderName, &str); 4] = [
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
];

fn is_worth_it(response: &Response) -> bool {
    let is_encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    let is_long = response.body().size_hint().exact().is_none_or(|bytes| bytes >= COMPRESSED_FROM_BYTES);
    !is_encoded && is_long
}

fn compressed(response: Response, coding: Coding) -> Response {
    let compressor = match Compressor::try_new(coding) {
        Ok(compressor) => compressor,
        Err(error) => {
            tracing::warn!(%error, "an answer is not compressed");
            return response;
        }
    };
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    Response::from_parts(parts, Body::new(Compressed { body, compressor: Some(compressor) }))
}

struct Compressed {
    body: Body,
    /// None at the end.
    compressor: Option<Compressor>,
}

impl http_body::Body for Compressed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        while let Some(compressor) = &mut this.compressor {
            let written = match std::task::ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => compressor.write(&data),
                    // These bodies have no trailers.
                    Err(_) => continue,
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => match this.compressor.take() {
                    Some(compressor) => compressor.finish(),
                    None => break,
                },
            };
            match written {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
        Poll::Ready(None)
    }
}

/// What Go's `http.Error` adds.
fn plain(status: StatusCode, text: &'static str) -> Response {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ]);
    (status, headers, text).into_response()
}

/// A path that is none of the API's.
pub(super) async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A method that the path does not have.
pub(super) async fn wrong_method() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// A browser that asks whether a page may ask.
pub(super) async fn preflight() -> StatusCode {
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::Router;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn asked(length: usize, accept: &str) -> (HeaderMap, Vec<u8>) {
        let routes = Router::new().route("/", get(move || async move { "x".repeat(length) }));
        let routes = routes.layer(axum::middleware::from_fn(around));
        let request = Request::get("/").header(header::ACCEPT_ENCODING, accept).body(Body::empty()).unwrap();
        let response = routes.oneshot(request).await.unwrap();
        let headers = response.headers().clone();
        (headers, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn long_answers_are_compressed_as_the_client_likes() {
        let coding =
            |headers: &HeaderMap| headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap().to_owned());
        let (headers, body) = asked(100_000, "gzip, deflate").await;
        let mut text = String::new();
        flate2::read::GzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!((coding(&headers).as_deref(), text.len()), (Some("gzip"), 100_000));
        let (headers, body) = asked(100_000, "gzip, zstd").await;
        assert_eq!(coding(&headers).as_deref(), Some("zstd"));
        assert_eq!(zstd::decode_all(body.as_slice()).unwrap().len(), 100_000);
        let (headers, body) = asked(100, "gzip").await;
        assert_eq!((coding(&headers), body.len()), (None, 100));
        let (headers, body) = asked(100_000, "br, gzip;q=0").await;
        assert_eq!((coding(&headers), body.len()), (None, 100_000));
    }
}
