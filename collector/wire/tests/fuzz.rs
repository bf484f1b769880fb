//! What a peer says beside its batches, under a fuzzer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use http::{HeaderMap, HeaderName, HeaderValue};
use tenantscope_fuzz::fuzz;
use tenantscope_wire::header::{AGENT, EPOCH, LANE, POSITIONS, SEQUENCE};
use tenantscope_wire::proof::{NONCE, SERVER};
use tenantscope_wire::{AgentDocument, BatchHeader, IdentityRequest, IdentityResponse, Proof};

/// A value a line, in the order of the headers; one of six lines is given twice.
#[test]
fn batch_header() {
    fuzz!("batch_header", |input| {
        let mut headers = HeaderMap::new();
        let names: [HeaderName; 6] = [AGENT, LANE, EPOCH, SEQUENCE, POSITIONS, AGENT];
        for (name, value) in names.into_iter().zip(input.split(|byte| *byte == b'\n')) {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name, value);
            }
        }
        let Ok(Some(header)) = BatchHeader::from_headers(&headers) else { return };
        assert!(header.positions.to_json().len() <= 8 * 1024, "as JSON, however it came");
        let mut written = HeaderMap::new();
        header.to_headers(&mut written);
        assert_eq!(BatchHeader::from_headers(&written), Ok(Some(header)));
    });
}

/// Whatever a proof says, the request that is made of it has one form.
#[test]
fn proof() {
    fuzz!("proof", |input| {
        let Ok(proof) = serde_json::from_slice::<Proof>(input) else { return };
        let again = serde_json::from_slice::<Proof>(&serde_json::to_vec(&proof).unwrap()).unwrap();
        assert_eq!(again, proof);
        assert!(!format!("{proof:?}").contains("Signature="), "what can be used is not shown");
        let Ok(request) = proof.to_request_parts() else { return };
        assert_eq!((request.method.as_str(), request.path), ("POST", "/"));
        assert_eq!(request.body, "Action=GetCallerIdentity&Version=2011-06-15");
        let one = |name: &str| {
            let mut values = request.headers.get_all(name).iter();
            let value = values.next().unwrap_or_else(|| panic!("{name} is sent")).to_str().unwrap().to_owned();
            assert!(values.next().is_none(), "{name} is sent once");
            value
        };
        assert_eq!(one(SERVER.as_str()), proof.server);
        assert_eq!(one(NONCE.as_str()), proof.nonce);
        assert_eq!(one("host"), proof.host);
        let authorization = one("authorization");
        let signed = authorization.split("SignedHeaders=").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        let mut sent: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
        sent.retain(|name| *name != "authorization");
        sent.sort_unstable();
        assert_eq!(signed, sent.join(";"), "all that is sent is signed, and all that is signed is sent");
    });
}

#[test]
fn identity_request() {
    fuzz!("identity_request", |input| {
        if let Ok(request) = serde_json::from_slice::<IdentityRequest>(input) {
            let written = serde_json::to_vec(&request).unwrap();
            assert_eq!(serde_json::from_slice::<IdentityRequest>(&written).unwrap(), request);
        }
        // What an agent reads of its collector.
        if let Ok(response) = serde_json::from_slice::<IdentityResponse>(input) {
            let written = serde_json::to_vec(&response).unwrap();
            assert_eq!(serde_json::from_slice::<IdentityResponse>(&written).unwrap(), response);
        }
    });
}

#[test]
fn agent_document() {
    fuzz!("agent_document", |input| {
        let Ok(document) = serde_json::from_slice::<AgentDocument>(input) else { return };
        let _ = document.check();
        let written = serde_json::to_vec(&document).unwrap();
        assert_eq!(serde_json::from_slice::<AgentDocument>(&written).unwrap(), document);
    });
}
