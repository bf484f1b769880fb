//! What a request shows in its headers: a bearer token, or one as the password of Basic; and `X-Scope-OrgID`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use tenantscope_model::TenantId;

/// The header of Mimir, Loki and Tempo that names tenants.
pub const SCOPE_ORG_ID: HeaderName = HeaderName::from_static("x-scope-orgid");

/// The header in which Firehose sends its access key.
const ACCESS_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");

/// The header can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authorization is neither one bearer token nor basic with a token as its password")]
pub(crate) struct MalformedAuthorization;

/// The access key can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("X-Amz-Firehose-Access-Key is given twice or is no text")]
pub(crate) struct MalformedAccessKey;

/// Why `X-Scope-OrgID` can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrgId {
    /// It comes twice or is no text.
    #[error("X-Scope-OrgID is given twice or is no text")]
    Malformed,
    /// A part of it is no tenant id.
    #[error("X-Scope-OrgID: {0}")]
    Tenant(#[from] tenantscope_model::InvalidTenantId),
    /// A write names several tenants.
    #[error("X-Scope-OrgID names several tenants; a write has one")]
    Several,
}

/// The presented token; `None` where there is no such header.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<String>, MalformedAuthorization> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(MalformedAuthorization);
    }
    let text = value.to_str().map_err(|_| MalformedAuthorization)?;
    let (scheme, rest) = text.trim().split_once(' ').ok_or(MalformedAuthorization)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        return Ok(Some(rest.to_owned()));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = BASE64.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let password = pair.as_deref().and_then(|pair| pair.split_once(':')).map(|(_, password)| password.to_owned());
        return password.filter(|password| !password.is_empty()).map(Some).ok_or(MalformedAuthorization);
    }
    Err(MalformedAuthorization)
}

/// Firehose's access key; `None` where there is none (Firehose leaves the header out, or empty, without one).
pub(crate) fn access_key(headers: &HeaderMap) -> Result<Option<&str>, MalformedAccessKey> {
    let mut values = headers.get_all(ACCESS_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(MalformedAccessKey);
    }
    let key = value.to_str().map_err(|_| MalformedAccessKey)?;
    Ok(Some(key).filter(|key| !key.is_empty()))
}

/// The tenants that the header names, in its order; `None` where there is no such header.
pub(crate) fn org_ids(headers: &HeaderMap) -> Result<Option<Vec<TenantId>>, InvalidOrgId> {
    let mut values = headers.get_all(SCOPE_ORG_ID).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(InvalidOrgId::Malformed);
    }
    let text = value.to_str().map_err(|_| InvalidOrgId::Malformed)?;
    let tenants: Result<Vec<TenantId>, _> = text.split('|').map(|part| TenantId::try_new(part.trim())).collect();
    Ok(Some(tenants?))
}

/// The one tenant of a write in open mode; `anonymous` where there is no header, or an empty one.
pub(crate) fn written_tenant(headers: &HeaderMap) -> Result<TenantId, InvalidOrgId> {
    if headers.get_all(SCOPE_ORG_ID).iter().all(|value| value.as_bytes().trim_ascii().is_empty()) {
        return Ok(TenantId::anonymous());
    }
    match org_ids(headers)?.as_deref() {
        None => Ok(TenantId::anonymous()),
        Some([tenant]) => Ok(tenant.clone()),
        Some(_) => Err(InvalidOrgId::Several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn bearer_or_the_password_of_basic() {
        let read = |values: &[&str]| token(&headers(&AUTHORIZATION, values));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["bearer abc"]), Ok(Some("abc".into())));
        let basic = format!("Basic {}", BASE64.encode("user:a:b"));
        assert_eq!(read(&[&basic]), Ok(Some("a:b".into())));
        for wrong in [&["abc"][..], &["Bearer "], &["Basic !!"], &["Digest x"], &["Bearer a", "Bearer b"]] {
            assert_eq!(read(wrong), Err(MalformedAuthorization), "{wrong:?}");
        }
    }

    #[test]
    fn a_write_names_one_tenant_or_none() {
        let read = |values: &[&str]| written_tenant(&headers(&SCOPE_ORG_ID, values));
        assert_eq!(read(&[]), Ok(TenantId::anonymous()));
        assert_eq!(read(&["a"]).unwrap().as_str(), "a");
        assert_eq!(read(&["a|b"]), Err(InvalidOrgId::Several));
        assert_eq!(read(&[""]), Ok(TenantId::anonymous()));
        assert!(matches!(read(&["a|"]), Err(InvalidOrgId::Several | InvalidOrgId::Tenant(_))));
        assert_eq!(read(&["a", "b"]), Err(InvalidOrgId::Malformed));
    }
}
