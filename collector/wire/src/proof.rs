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
const MIN_NONCE_BYTES: usize = 16;
const MAX_NONCE_BYTES: usize = 128;
/// The signed headers, all that the request has but the signature itself.
const SIGNED: &str = "content-type;host;x-amz-date;x-tenantscope-nonce;x-tenantscope-server";
/// The same with temporary credentials.
const SIGNED_WITH_TOKEN: &str =
    "content-type;host;x-amz-date;x-amz-security-token;x-tenantscope-nonce;x-tenantscope-server";

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
    /// Another set of headers is signed than the request has.
    #[error("proof does not sign exactly {0}")]
    SignedHeaders(&'static str),
    /// A nonce of other characters: what STS trims or folds would make one signature serve for many nonces.
    #[error("proof nonce is not {MIN_NONCE_BYTES} to {MAX_NONCE_BYTES} letters, digits, - and _")]
    Nonce,
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

/// Partitions by the beginnings of their regions' names: name, and the domain of their services.
const PARTITIONS: [(&str, &str, &str); 7] = [
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
];

fn partition_of(region: &Region) -> (&'static str, &'static str) {
    let found = PARTITIONS.iter().find(|(prefix, ..)| region.as_str().starts_with(prefix));
    found.map_or(("aws", "amazonaws.com"), |(_, partition, domain)| (partition, domain))
}

/// The partition of a region, as the ARNs of its accounts name it.
pub fn partition(region: &Region) -> &'static str {
    partition_of(region).0
}

/// The host of STS in a region, by the region's partition.
pub fn sts_host(region: &Region) -> String {
    format!("sts.{region}.{}", partition_of(region).1)
}

/// Whether a host is under a domain of AWS, where only the STS of the proof's region is meant.
pub fn is_aws_host(host: &str) -> bool {
    let domains = PARTITIONS.iter().map(|(_, _, domain)| *domain).chain(["api.aws"]);
    domains.into_iter().any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

impl Proof {
    /// Signs with an account's credentials. `nonce` is a random text of 16 to 128 letters, digits, - and _; `now` the
    /// time that is signed.
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

    /// The request for STS, if the proof has the right form and signs all of it.
    ///
    /// Whether `server` is this collector, and whether the signature is fresh, is for the caller to check.
    pub fn to_request_parts(&self) -> Result<ProofRequest, InvalidProof> {
        self.signed_at_ms()?;
        self.check_nonce()?;
        self.check_authorization()?;
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, field: &'static str, text: &str| {
            // No spaces either (the authorization's form is checked): what STS trims would not be what we compared.
            let plain =
                text.bytes().all(|b| b.is_ascii_graphic() || (b == b' ' && name == http::header::AUTHORIZATION));
            let value = HeaderValue::from_str(text).ok().filter(|_| plain && text.len() <= MAX_FIELD_BYTES);
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
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if signature.len() != 64 || !signature.bytes().all(hex) || parts.next().is_some() {
            return Err(InvalidProof::Authorization);
        }
        let day = self.amz_date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/sts/aws4_request", self.region);
        let (key_id, its_scope) = credential.split_once('/').ok_or(InvalidProof::Authorization)?;
        if key_id.is_empty() || key_id.len() > 128 || !key_id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(InvalidProof::Authorization);
        }
        if its_scope != scope {
            return Err(InvalidProof::CredentialScope(scope));
        }
        // All of them and no other, in SigV4's order: a header that is signed and not sent, or sent and not signed,
        // leaves room for a request of another meaning.
        let required = if self.security_token.is_some() { SIGNED_WITH_TOKEN } else { SIGNED };
        if signed_headers != required {
            return Err(InvalidProof::SignedHeaders(required));
        }
        Ok(())
    }

    fn check_nonce(&self) -> Result<(), InvalidProof> {
        let plain = self.nonce.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let long_enough = (MIN_NONCE_BYTES..=MAX_NONCE_BYTES).contains(&self.nonce.len());
        if plain && long_enough { Ok(()) } else { Err(InvalidProof::Nonce) }
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
        Proof::sign(&credentials, &region, "collector.example.com", "0123456789abcdef", now).unwrap()
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
            Signature=75c916df3b359fe618312bcc2d490ed71cba73c8647356437a2ea57f90013169";
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
    fn a_proof_of_another_form_is_refused() {
        let changed = |change: &dyn Fn(&mut Proof)| {
            let mut proof = proof();
            change(&mut proof);
            proof.to_request_parts().unwrap_err()
        };
        let authorization = |from: &str, to: &str| {
            let (from, to) = (from.to_owned(), to.to_owned());
            changed(&move |proof| proof.authorization = proof.authorization.replace(&from, &to))
        };
        let signed = InvalidProof::SignedHeaders(SIGNED_WITH_TOKEN);
        assert_eq!(authorization(";x-tenantscope-server", ""), signed, "the server is not signed");
        assert_eq!(authorization("x-tenantscope-server,", "x-tenantscope-server;x-y,"), signed, "one more is signed");
        assert_eq!(authorization("content-type;host", "host;content-type"), signed, "in another order");
        assert_eq!(authorization("content-type;host", "Content-Type;Host"), signed, "in another case");
        assert_eq!(authorization("host;", "host;host;"), signed, "twice");
        assert_eq!(changed(&|proof| proof.security_token = None), InvalidProof::SignedHeaders(SIGNED));
        assert_eq!(authorization("Signature=", "Signature=00"), InvalidProof::Authorization);
        assert_eq!(authorization("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), InvalidProof::Authorization);
        assert_eq!(authorization(", Signature", ",  Signature"), InvalidProof::Authorization);
        assert_eq!(authorization("Credential=AKIDEXAMPLE", "Credential=A B"), InvalidProof::Authorization);
        assert_eq!(changed(&|proof| proof.authorization.push_str(", Signature=0")), InvalidProof::Authorization);
        let scope = |error: InvalidProof| matches!(error, InvalidProof::CredentialScope(_));
        assert!(scope(changed(&|proof| proof.region = Region::try_new("us-east-1").unwrap())));
        assert!(scope(authorization("/sts/", "/iam/")), "another service");
        assert!(scope(authorization("20150830", "20150829")), "another day");
        let undated = changed(&|proof| proof.amz_date = "20151399T000000Z".to_owned());
        assert!(matches!(undated, InvalidProof::Date(_)));
    }

    /// SigV4 trims values and folds spaces, so a nonce with spaces would be many nonces to one signature.
    #[test]
    fn what_sigv4_would_fold_is_refused() {
        for nonce in [
            "0123456789abcde",
            " 0123456789abcdef",
            "0123456789abcdef ",
            "01234567 9abcdef",
            "0123456789abcdef\t",
            "a\r\nhost: x0123456789",
            "0123456789abcdé",
            &"a".repeat(129),
        ] {
            let proof = Proof { nonce: nonce.to_owned(), ..proof() };
            assert_eq!(proof.to_request_parts().unwrap_err(), InvalidProof::Nonce, "{nonce:?}");
        }
        let host = Proof { host: "sts.eu-west-1.amazonaws.com ".to_owned(), ..proof() };
        assert_eq!(host.to_request_parts().unwrap_err(), InvalidProof::Field("host"));
        let token = Proof { security_token: Some("session ".to_owned()), ..proof() };
        assert_eq!(token.to_request_parts().unwrap_err(), InvalidProof::Field("security_token"));
    }

    #[test]
    fn the_host_follows_the_partition() {
        let host = |region: &str| sts_host(&Region::try_new(region).unwrap());
        assert_eq!(host("cn-north-1"), "sts.cn-north-1.amazonaws.com.cn");
        assert_eq!(host("us-gov-west-1"), "sts.us-gov-west-1.amazonaws.com");
        let partition = |region: &str| partition(&Region::try_new(region).unwrap());
        assert_eq!((partition("us-gov-west-1"), partition("eu-west-1")), ("aws-us-gov", "aws"));
        assert!(is_aws_host("sts.eu-west-1.amazonaws.com") && is_aws_host("sts.cn-north-1.amazonaws.com.cn"));
        assert!(!is_aws_host("amazonaws.com.example.org") && !is_aws_host("notamazonaws.com"));
    }
}
