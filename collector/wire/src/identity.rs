use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tenantscope_model::{AccountId, TenantId};

use crate::{Name, Proof, VersionedDocument};

/// Where the identity exchange is, on every listener: `POST` with JSON.
pub const IDENTITY_PATH: &str = "/tenantscope/v1/identity";

/// The largest identity request, in bytes.
pub const MAX_IDENTITY_BYTES: usize = 64 * 1024;

/// How an agent proves its account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum ProofOfAccount {
    /// A signed `sts:GetCallerIdentity`.
    Sts(Proof),
    /// A static token that the collector knows by its hash (development, legacy).
    Token {
        /// The token.
        token: String,
    },
    /// A web identity token (a JWT) of an issuer that the collector trusts.
    Jwt {
        /// The token.
        token: String,
    },
    /// The certificate of the connection itself.
    Certificate,
    /// A token of the collector's own that still holds. It asks for what to go by and gets no other token, so that asking
    /// costs no proof; a collector of release 0.1.0 does not know it.
    Held {
        /// The token.
        token: String,
    },
}

/// Tells the kind only.
impl fmt::Debug for ProofOfAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sts(proof) => f.debug_tuple("Sts").field(proof).finish(),
            Self::Token { .. } => f.write_str("Token"),
            Self::Jwt { .. } => f.write_str("Jwt"),
            Self::Certificate => f.write_str("Certificate"),
            Self::Held { .. } => f.write_str("Held"),
        }
    }
}

/// In which mode an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentMode {
    /// A daemon.
    Run,
    /// One round.
    Once,
    /// A Lambda function.
    Lambda,
    /// Not an agent but another collector.
    Forward,
}

/// What an agent asks before its first batch and before its token ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRequest {
    /// The agent's name; with the account it names the agent's lanes.
    pub agent: Name,
    /// The agent's mode.
    pub mode: AgentMode,
    /// The agent's version, as in its package.
    pub version: String,
    /// The proof of its account.
    pub proof: ProofOfAccount,
    /// Whether it has no spool that remembers an epoch, so that it needs a new one and the kept positions.
    #[serde(default)]
    pub wants_epoch: bool,
    /// The version of the document in force at the agent; `None` for its own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_version: Option<u64>,
    /// What became of the documents that it was handed; absent for a sender that takes none, as agents of release 0.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<DocumentReport>,
}

/// The longest reason of a [`DocumentReport`] that is kept, in bytes.
pub const MAX_REASON_BYTES: usize = 512;

/// What an agent says of the configuration that it takes from the collector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DocumentReport {
    /// The document that it was handed last and did not take; the one before it is still in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedDocument>,
    /// What fails, again and again, since the document in force is: a source that it added or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// A source that fails, again and again, whoever configured it: that nothing comes of it does not say that there is
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_failing: Option<String>,
    /// Whether it collects nothing, because it was stopped or its document says so.
    pub stopped: bool,
}

/// A document that an agent did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedDocument {
    /// Which.
    pub version: u64,
    /// Why, for people.
    pub reason: String,
}

/// The collector's answer.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct IdentityResponse {
    /// Goes with each batch as `authorization: Bearer …`; this and the next two are absent for who showed a token that it
    /// holds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// When the token ends, in milliseconds since the epoch, by the collector's clock.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expires_at_ms: i64,
    /// For how long the token holds from now, so that a wrong clock at the agent does no harm.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub valid_for_ms: u64,
    /// The account that the proof showed; absent in open mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The tenant that the account belongs to; absent for pooled accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// A new epoch, already durable at the collector; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The agent's configuration from the centre; absent where there is none for it, or where it has this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<VersionedDocument>,
    /// Whether there is no document for the agent any more, so that its own file holds again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub document_withdrawn: bool,
    /// The kill switch: the agent collects nothing, whatever its document says, until an answer comes without this.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stopped: bool,
    /// In which time the agent is to ask again; when its token is to be renewed, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_again_ms: Option<u64>,
    /// The newest source positions that this agent's batches carried, by source; only where an epoch was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub positions: BTreeMap<String, serde_json::Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde passes it
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde passes it
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde passes it
fn is_nothing(value: &u64) -> bool {
    *value == 0
}

/// Leaves the token out.
impl fmt::Debug for IdentityResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityResponse")
            .field("expires_at_ms", &self.expires_at_ms)
            .field("account", &self.account)
            .field("tenant", &self.tenant)
            .field("epoch", &self.epoch)
            .field("document", &self.document.as_ref().map(|document| document.version))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an agent of release 0.1.0 sends and reads.
    #[test]
    fn the_previous_release_is_understood_and_understands() {
        let request = r#"{"agent": "a", "mode": "run", "version": "0.1.0", "proof": {"kind": "token", "token": "t"}}"#;
        let request: IdentityRequest = serde_json::from_str(request).unwrap();
        assert_eq!((request.document_version, request.documents, request.wants_epoch), (None, None, false));

        let answer = r#"{"token": "t", "expires_at_ms": 1, "valid_for_ms": 1}"#;
        let answer: IdentityResponse = serde_json::from_str(answer).unwrap();
        assert!(!answer.stopped && !answer.document_withdrawn && answer.document.is_none());
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(text, r#"{"token":"t","expires_at_ms":1,"valid_for_ms":1}"#, "nothing is said that is not so");
    }

    #[test]
    fn a_document_that_cannot_be_understood_takes_nothing_from_the_token() {
        let answer = r#"{"token": "t", "expires_at_ms": 1, "valid_for_ms": 1,
            "document": {"version": 7, "content": {"sources": {"of a later release": {}}}}}"#;
        let answer: IdentityResponse = serde_json::from_str(answer).unwrap();
        assert_eq!(answer.document.unwrap().version, 7);
    }
}
