use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tenantscope_model::{AccountId, TenantId};

use crate::{AgentDocument, Name, Proof};

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
}

/// Tells the kind only.
impl fmt::Debug for ProofOfAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sts(proof) => f.debug_tuple("Sts").field(proof).finish(),
            Self::Token { .. } => f.write_str("Token"),
            Self::Jwt { .. } => f.write_str("Jwt"),
            Self::Certificate => f.write_str("Certificate"),
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
}

/// The collector's answer.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct IdentityResponse {
    /// Goes with each batch as `authorization: Bearer …`.
    pub token: String,
    /// When the token ends, in milliseconds since the epoch, by the collector's clock.
    pub expires_at_ms: i64,
    /// For how long the token holds from now, so that a wrong clock at the agent does no harm.
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
    /// The agent's configuration from the centre; absent where its own file holds, or where it has this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<AgentDocument>,
    /// The newest source positions that this agent's batches carried, by source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub positions: BTreeMap<String, serde_json::Value>,
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
