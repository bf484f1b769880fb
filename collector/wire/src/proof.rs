//! An account's proof: a signed `sts:GetCallerIdentity` that the collector sends on.

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use tenantscope_model::Region;

/// The signed header that names the collector for which a proof is made.
pub const SERVER: HeaderName = HeaderName::from_static("x-tenantscope-server");
/// The signed header that makes each proof another.
pub const NONCE: HeaderName = HeaderName::from_static("x-tenantscope-nonce");

const METHOD: Method = Method::POST;
const PATH: &str = "/";
const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";
const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const AMZ_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// Longest security tokens seen are about 2 KiB; a proof as a whole stays small.
const MAX_FIELD_BYTES: usize = 16 * 1024;

/// A signed `sts:GetCallerIdentity` request, reduced to what differs between two of them.
///
/// Method, path, body and content type are constants of this module on both sides, and the collector chooses the
/// endpoint, so nothing that an agent sends decides where a request goes or what it asks for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The region of the STS endpoint that the request is signed for.
    pub region: Region,
    /// The host that is signed.
    pub host: String,
    /// The collector's `identity.server_name`, signed.
    pub server: String,
    /// A random text, signed.
    pub nonce: String,
    /// `x-amz-date`, as `YYYYMMDDTHHMMSSZ`.
    pub amz_date: String,
    /// `authorization`: algorithm, credential scope, signed headers, signature.
    pub authorization: String,
    /// `x-amz-security-token` of temporary credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_token: Option<String>,
}

/// Leaves out what could be used while the signature lasts.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("region", &self.region)
            .field("host", &self.host)
            .field("server", &self.server)
            .field("amz_date", &self.amz_date)
            .finish_non_exhaustive()
    }
}

/// Why a proof could not be made.
#[derive(Debug, thiserror::Error)]
#[error("sign sts:GetCallerIdentity: {0}")]
pub struct SignError(String);

/// What is wrong with a proof, before STS is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// A field is too long, or no header value.
    #[error("proof field {0} is too long or not visible ASCII")]
    Field(&'static str),
    /// The signing time is no `YYYYMMDDTHHMMSSZ`.
    #[error("proof is signed at {0:?}, which is not YYYYMMDDTHHMMSSZ")]
    Date(String),
    /// The authorization is not SigV4's.
    #[error("proof authorization is not of the form AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…")]
    Authorization,
    /// The credential scope is not the proof's day, region and `sts`.
    #[error("proof credential scope is not {0}")]
    CredentialScope(String),
    /// A header that matters is not signed.
    #[error("proof does not sign {0}")]
    NotSigned(HeaderName),
}

/// The request that the collector sends to the STS endpoint of its own configuration.
#[derive(Debug, Clone)]
pub struct ProofRequest {
    /// `POST`.
    pub method: Method,
    /// `/`.
    pub path: &'static str,
    /// The signed headers, `host` included, and `authorization`.
    pub headers: HeaderMap,
    /// The form.
    pub body: &'static str,
}

/// The host of STS in a region, by the region's partition.
pub fn sts_host(region: &Region) -> String {
    let region = region.as_str();
    let suffix = [
        ("cn-", "amazonaws.com.cn"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("eusc-", "amazonaws.eu"),
    ]
    .into_iter()
    .find(|(prefix, _)| region.starts_with(prefix))
    .map_or("amazonaws.com", |(_, suffix)| suffix);
    format!("sts.{region}.{suffix}")
}

impl Proof {
    /// Signs with an account's credentials. `nonce` is random text of visible ASCII, `now` the time that is signed.
    pub fn sign(
        credentials: &Credentials,
        region: &Region,
        server_name: &str,
        nonce: &str,
        now: SystemTime,
    ) -> Result<Self, SignError> {
        let host = sts_host(region);
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region.as_str())
            .name("sts")
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| SignError(error.to_string()))?
            .into();
        let (server_header, nonce_header) = (SERVER, NONCE);
        let headers = [
            ("host", host.as_str()),
            ("content-type", CONTENT_TYPE),
            (server_header.as_str(), server_name),
            (nonce_header.as_str(), nonce),
        ];
        let url = format!("https://{host}{PATH}");
        let body = SignableBody::Bytes(BODY.as_bytes());
        let request = SignableRequest::new(METHOD.as_str(), url, headers.into_iter(), body)
            .map_err(|error| SignError(error.to_string()))?;
        let (instructions, _) = sign(request, &params).map_err(|error| SignError(error.to_string()))?.into_parts();
        let signed = |name: &str| {
            instructions
                .headers()
                .find(|(header, _)| header.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        let missing = |name: &str| SignError(format!("no {name} was made"));
        Ok(Self {
            region: region.clone(),
            host: host.clone(),
            server: server_name.to_owned(),
            nonce: nonce.to_owned(),
            amz_date: signed(AMZ_DATE.as_str()).ok_or_else(|| missing("x-amz-date"))?,
            authorization: signed("authorization").ok_or_else(|| missing("authorization"))?,
            security_token: signed(AMZ_TOKEN.as_str()),
        })
    }

    /// When it was signed, in milliseconds since the epoch.
    pub fn signed_at_ms(&self) -> Result<i64, InvalidProof> {
        amz_date_ms(&self.amz_date).ok_or_else(|| InvalidProof::Date(self.amz_date.chars().take(32).collect()))
    }

    /// The request for STS, if the proof has the right form and signs its server, nonce, host and date.
    ///
    /// Whether `server` is this collector, and whether the signature is fresh, is for the caller to check.
    pub fn to_request_parts(&self) -> Result<ProofRequest, InvalidProof> {
        self.signed_at_ms()?;
        self.check_authorization()?;
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, field: &'static str, text: &str| {
            let value = HeaderValue::from_str(text).ok().filter(|_| text.len() <= MAX_FIELD_BYTES);
            headers.insert(name, value.ok_or(InvalidProof::Field(field))?);
            Ok(())
        };
        set(http::header::HOST, "host", &self.host)?;
        set(http::header::CONTENT_TYPE, "content-type", CONTENT_TYPE)?;
        set(SERVER, "server", &self.server)?;
        set(NONCE, "nonce", &self.nonce)?;
        set(AMZ_DATE, "amz_date", &self.amz_date)?;
        set(http::header::AUTHORIZATION, "authorization", &self.authorization)?;
        if let Some(token) = &self.security_token {
            set(AMZ_TOKEN, "security_token", token)?;
        }
        Ok(ProofRequest { method: METHOD, path: PATH, headers, body: BODY })
    }

    fn check_authorization(&self) -> Result<(), InvalidProof> {
        let fields = self.authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or(InvalidProof::Authorization)?;
        let mut parts = fields.split(", ");
        let mut field = |name: &str| {
            let part = parts.next().and_then(|part| part.strip_prefix(name)).and_then(|part| part.strip_prefix('='));
            part.ok_or(InvalidProof::Authorization)
        };
        let (credential, signed_headers, signature) =
            (field("Credential")?, field("SignedHeaders")?, field("Signature")?);
        let hex = |b: u8| b.is_ascii_hexdigit();
        if signature.len() != 64 || !signature.bytes().all(hex) || parts.next().is_some() {
            return Err(InvalidProof::Authorization);
        }
        let day = self.amz_date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/sts/aws4_request", self.region);
        if credential.split_once('/').is_none_or(|(_, its_scope)| its_scope != scope) {
            return Err(InvalidProof::CredentialScope(scope));
        }
        let required = [http::header::HOST, AMZ_DATE, SERVER, NONCE];
        let token = self.security_token.as_ref().map(|_| AMZ_TOKEN);
        for header in required.into_iter().chain(token) {
            if !signed_headers.split(';').any(|signed| signed == header.as_str()) {
                return Err(InvalidProof::NotSigned(header));
            }
        }
        Ok(())
    }
}

/// Milliseconds since the epoch of `YYYYMMDDTHHMMSSZ`.
fn amz_date_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes.get(8) != Some(&b'T') || bytes.get(15) != Some(&b'Z') {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1000)
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; years begin in March, so that leap days come last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn proof() -> Proof {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            Some("session".to_owned()),
            None,
            "test",
        );
        let region = Region::try_new("eu-west-1").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        Proof::sign(&credentials, &region, "collector.example.com", "nonce-1", now).unwrap()
    }

    #[test]
    fn the_same_inputs_give_the_same_request() {
        assert_eq!(proof(), proof());
        assert_eq!(proof().amz_date, "20150830T123600Z");
        assert_eq!(proof().signed_at_ms(), Ok(1_440_938_160_000));
        assert_eq!(proof().host, "sts.eu-west-1.amazonaws.com");
        let json = serde_json::to_string(&proof()).unwrap();
        assert_eq!(serde_json::from_str::<Proof>(&json).unwrap(), proof());
    }

    /// The expected signature was computed by hand, following AWS's documentation of Signature Version 4.
    #[test]
    fn the_signature_is_the_documented_one() {
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/sts/aws4_request, \
            SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-tenantscope-nonce;x-tenantscope-server, \
            Signature=849521fc79d774f3f0de9cab5a373dedb763e6208fb7c17917471a3c129f4acb";
        assert_eq!(proof().authorization, expected);
    }

    #[test]
    fn the_collector_gets_a_request_of_fixed_form() {
        let request = proof().to_request_parts().unwrap();
        assert_eq!((request.method, request.path, request.body), (METHOD, "/", BODY));
        assert_eq!(request.headers.len(), 7);
        assert_eq!(request.headers[SERVER], "collector.example.com");
    }

    #[test]
    fn a_proof_that_signs_too_little_is_refused() {
        let mut unsigned = proof();
        unsigned.authorization = unsigned.authorization.replace(";x-tenantscope-server", "");
        assert_eq!(unsigned.to_request_parts().unwrap_err(), InvalidProof::NotSigned(SERVER));
        let elsewhere = Proof { region: Region::try_new("us-east-1").unwrap(), ..proof() };
        assert!(matches!(elsewhere.to_request_parts(), Err(InvalidProof::CredentialScope(_))));
        let undated = Proof { amz_date: "20151399T000000Z".to_owned(), ..proof() };
        assert!(matches!(undated.to_request_parts(), Err(InvalidProof::Date(_))));
        let split = Proof { nonce: "a\r\nhost: x".to_owned(), ..proof() };
        assert_eq!(split.to_request_parts().unwrap_err(), InvalidProof::Field("nonce"));
    }

    #[test]
    fn the_host_follows_the_partition() {
        let host = |region: &str| sts_host(&Region::try_new(region).unwrap());
        assert_eq!(host("cn-north-1"), "sts.cn-north-1.amazonaws.com.cn");
        assert_eq!(host("us-gov-west-1"), "sts.us-gov-west-1.amazonaws.com");
    }
}
