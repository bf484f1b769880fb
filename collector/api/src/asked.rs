//! What the query of a request asks for; one that can't be read is a bad request, in words.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

/// Of a request whose refusals are lines of text.
#[derive(Debug)]
pub struct AskedInText<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for AskedInText<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let asked = Query::from_request_parts(parts, state).await;
        asked
            .map(|Query(asked)| Self(asked))
            .map_err(|rejected| (StatusCode::BAD_REQUEST, format!("{}\n", unreadable(&rejected))).into_response())
    }
}

/// Why a query can't be read.
pub(crate) fn unreadable(rejected: &QueryRejection) -> String {
    let text = rejected.body_text();
    let what = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
    match what.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        Some(name) => format!("the parameter {name} is missing"),
        None => format!("a parameter can't be read: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::http::Uri;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Month {
        #[allow(dead_code)] // only read to fail
        month: u32,
    }

    #[test]
    fn a_query_that_can_not_be_read_is_told_in_words() {
        let told = |uri: &'static str| unreadable(&Query::<Month>::try_from_uri(&Uri::from_static(uri)).unwrap_err());
        assert_eq!(told("/x?tenant=a"), "the parameter month is missing");
        assert_eq!(told("/x?month=may"), "a parameter can't be read: month: invalid digit found in string");
        assert!(Query::<BTreeMap<String, String>>::try_from_uri(&Uri::from_static("/x?a=b")).is_ok());
    }
}
