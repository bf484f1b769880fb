//! Which status each refusal of a sender has.

use std::time::Duration;

use tenantscope_wire::{Name, Refused};

use crate::identity::jwt::JwtRefused;
use crate::identity::revoked::IsRevoked;
use crate::identity::sts::ProofRefused;
use crate::identity::token::TokenRefused;
use crate::registry::owner::AccountRefused;

pub(crate) fn token(refused: &TokenRefused) -> Refused {
    let reason = match refused {
        TokenRefused::NotOurs => "unknown_token",
        TokenRefused::Expired => "expired_token",
    };
    Refused::unauthenticated(reason, refused.to_string())
}

#[allow(clippy::needless_pass_by_value)] // for map_err
pub(crate) fn account(refused: AccountRefused) -> Refused {
    let (reason, message) = (refused.reason(), refused.to_string());
    match refused {
        AccountRefused::NotReadYet(_) => Refused::unavailable(reason, message, Duration::from_secs(5)),
        AccountRefused::Unknown(_) | AccountRefused::WrongHome { .. } => Refused::forbidden(reason, message),
    }
}

/// Of an account that was revoked there is nothing to come; of a credential, a new proof gives another.
pub(crate) fn revoked(what: IsRevoked) -> Refused {
    match what {
        IsRevoked::Account => Refused::forbidden("revoked_account", "the account's credentials were revoked"),
        IsRevoked::Credential => Refused::unauthenticated("revoked_token", "the token was revoked"),
    }
}

/// A newer incarnation of the agent has the lanes now.
pub(crate) fn old_epoch(agent: &Name) -> Refused {
    Refused::forbidden("old_epoch", format!("a newer start of agent {agent} was given a newer epoch"))
}

pub(crate) fn certificate(reason: &'static str, message: &str) -> Refused {
    Refused::unauthenticated(reason, message)
}

pub(crate) fn jwt(refused: &JwtRefused) -> Refused {
    let (reason, message) = (refused.reason(), refused.to_string());
    if refused.may_pass() {
        return Refused::unavailable(reason, message, Duration::from_secs(5));
    }
    Refused::unauthenticated(reason, message)
}

pub(crate) fn proof(refused: &ProofRefused) -> Refused {
    let (reason, message) = (refused.reason(), refused.to_string());
    match refused {
        ProofRefused::Invalid(_) => Refused::invalid(reason, message),
        ProofRefused::OtherServer
        | ProofRefused::OtherHost
        | ProofRefused::UnknownRegion(_)
        | ProofRefused::OtherPartition
        | ProofRefused::WrongRole => Refused::forbidden(reason, message),
        ProofRefused::Stale { .. } | ProofRefused::Replayed | ProofRefused::Rejected => {
            Refused::unauthenticated(reason, message)
        }
        ProofRefused::TooMany => Refused::throttled(reason, message, Duration::from_secs(60)),
        ProofRefused::Busy => Refused::unavailable(reason, message, Duration::from_secs(2)),
        ProofRefused::Unreachable(_) => Refused::unavailable(reason, message, Duration::from_secs(5)),
    }
}
