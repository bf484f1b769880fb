//! OpenID Connect discovery: where an issuer itself says that its keys are.

use http::uri::Authority;
use reqwest::Url;
use serde::Deserialize;

use crate::identity::fetch;

/// Where the document is, below the issuer.
const PATH: &str = "/.well-known/openid-configuration";

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeysAt {
    /// At this address.
    Set(String),
    /// Where the issuer's document says.
    Document {
        /// The issuer's name, as its tokens have it.
        issuer: String,
        /// Whether the keys may be on other hosts than the document.
        hosts: Hosts,
    },
}

/// On which hosts a document's keys may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// On any: the configuration names the issuer whole, and trusts it with that.
    Any,
    /// On the document's own alone: a part of the issuer's name is the token's to choose, and must not lead elsewhere.
    Own,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl KeysAt {
    /// What is asked first; it tells one set of keys from another.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Set(address) => address.clone(),
            Self::Document { issuer, .. } => format!("{}{PATH}", issuer.trim_end_matches('/')),
        }
    }

    /// Where the keys are by the document that was found; `None` where they are not behind one, or it can't be followed.
    pub(crate) fn followed(&self, document: &[u8]) -> Option<Url> {
        let Self::Document { issuer, hosts } = self else { return None };
        let found: Document = serde_json::from_slice(document).ok()?;
        let url = fetch::allowed_url(&found.jwks_uri)?;
        let host = |text: &str| Some((text.split_once("://")?.0.to_owned(), authority(text)?));
        let allowed = match hosts {
            Hosts::Any => true,
            Hosts::Own => host(issuer).is_some() && host(issuer) == host(url.as_str()),
        };
        // OpenID Connect Discovery 1.0, section 4.3: the names must be exactly the same.
        (found.issuer == *issuer && allowed).then_some(url)
    }
}

fn authority(address: &str) -> Option<Authority> {
    address.parse::<http::Uri>().ok()?.authority().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(issuer: &str, hosts: Hosts, named: &str, keys: &str) -> Option<String> {
        let document =
            serde_json::json!({"issuer": named, "jwks_uri": keys, "id_token_signing_alg_values_supported": ["none"]});
        let at = KeysAt::Document { issuer: issuer.to_owned(), hosts };
        at.followed(document.to_string().as_bytes()).map(|url| url.to_string())
    }

    #[test]
    fn a_document_leads_to_keys_that_may_be_asked_for() {
        let issuer = "https://id.example.com/a";
        let keys = "https://keys.example.net/v3";
        assert_eq!(followed(issuer, Hosts::Any, issuer, keys).as_deref(), Some(keys));
        assert_eq!(followed(issuer, Hosts::Own, issuer, keys), None, "another host");
        let own = "https://id.example.com/keys";
        assert_eq!(followed(issuer, Hosts::Own, issuer, own).as_deref(), Some(own));
        assert_eq!(followed(issuer, Hosts::Own, issuer, "https://id.example.com:8443/keys"), None, "another port");
        assert_eq!(followed(issuer, Hosts::Own, issuer, "https://x@id.example.com/keys"), None);
        assert_eq!(followed(issuer, Hosts::Any, "https://id.example.com/a/", own), None, "another issuer's document");
        for wrong in
            ["http://id.example.com/keys", "https://u:p@id.example.com/keys", "file:///keys", "keys", "https://h/?a=b"]
        {
            assert_eq!(followed(issuer, Hosts::Any, issuer, wrong), None, "{wrong}");
        }
        assert!(KeysAt::Document { issuer: issuer.into(), hosts: Hosts::Any }.followed(b"[]").is_none());
        assert!(KeysAt::Set(own.into()).followed(b"{}").is_none());
    }

    #[test]
    fn the_document_lies_below_the_issuer() {
        let at = |issuer: &str| KeysAt::Document { issuer: issuer.to_owned(), hosts: Hosts::Any }.address();
        assert_eq!(at("https://id.example.com"), "https://id.example.com/.well-known/openid-configuration");
        assert_eq!(at("https://id.example.com/a/"), "https://id.example.com/a/.well-known/openid-configuration");
    }
}
