//! Web identity tokens against an issuer on loopback: what holds, what is forged, and how its keys are fetched.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tenantscope_wire::Peer;

use crate::config::{ClaimPath, IssuerConfig, OneOrMany};
use crate::identity::jwt::{Claims, Issuer, Unverified, looks_like_jwt};
use crate::{Identity, IdentityConfig, Registry, RegistryConfig};

const NOW_S: i64 = 1_790_000_000;
const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// An issuer with a set of keys that can be exchanged.
struct Served {
    url: String,
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
}

async fn served(keys: Value) -> Served {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = Served { url, keys: Arc::new(Mutex::new(keys)), asked: Arc::default() };
    let (keys, asked) = (Arc::clone(&served.keys), Arc::clone(&served.asked));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let n = stream.read(&mut request).await.unwrap();
            assert!(request[..n].starts_with(b"GET /.well-known/jwks.json HTTP/1.1\r\n"));
            asked.fetch_add(1, Ordering::SeqCst);
            let body = json!({ "keys": keys.lock().clone() }).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    served
}

fn key_pair() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap()
}

fn jwk(pair: &EcdsaKeyPair, kid: &str) -> Value {
    let point = pair.public_key().as_ref();
    let (x, y) = (BASE64URL.encode(&point[1..33]), BASE64URL.encode(&point[33..]));
    json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y })
}

fn signed(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", BASE64URL.encode(signature))
}

fn header(kid: &str) -> Value {
    json!({ "alg": "ES256", "typ": "JWT", "kid": kid })
}

/// As AWS's outbound identity federation has them.
fn claims(issuer: &str) -> Value {
    json!({
        "iss": issuer, "aud": "https://collector.example.com", "iat": NOW_S, "exp": NOW_S + 900,
        "sub": "arn:aws:iam::123456789012:role/tenantscope-agent",
        "https://sts.amazonaws.com/": { "aws_account": "123456789012" },
    })
}

fn config(issuer: &str) -> IssuerConfig {
    let text = format!(
        "{{issuer: \"{issuer}\", audience: \"https://collector.example.com\", algorithms: [ES256, ES384], \
         subject: \"arn:aws:iam::*:role/tenantscope-agent\"}}"
    );
    serde_saphyr::from_str(&text).unwrap()
}

async fn verify_at(issuer: &Issuer, token: &str, now_s: i64) -> Result<Claims, &'static str> {
    let token = Unverified::parse(token).map_err(|refused| refused.reason())?;
    issuer.verify(&token, FROM, now_s * 1000).await.map_err(|refused| refused.reason())
}

fn with(mut value: Value, name: &str, new: Value) -> Value {
    value[name] = new;
    value
}

#[tokio::test]
async fn a_token_of_the_issuer_names_the_account() {
    let pair = key_pair();
    // Keys of a kind that is not known, or that are none, are passed over.
    let others = [json!({ "kty": "oct", "k": "AAAA", "kid": "a" }), json!({ "kid": 7 }), json!("text")];
    let served = served(others.into_iter().chain([jwk(&pair, "a")]).collect()).await;
    let issuer = Issuer::try_new(&config(&served.url), Path::new(".")).unwrap();
    let token = signed(&pair, &header("a"), &claims(&served.url));
    assert!(looks_like_jwt(&token));
    let path = ClaimPath(OneOrMany::Many(vec!["https://sts.amazonaws.com/".into(), "aws_account".into()]));
    let verified = verify_at(&issuer, &token, NOW_S).await.unwrap();
    assert_eq!(verified.get(&path), Some(&json!("123456789012")));
    let several = with(claims(&served.url), "aud", json!(["x", "https://collector.example.com"]));
    assert!(verify_at(&issuer, &signed(&pair, &header("a"), &several), NOW_S).await.is_ok());
    assert!(verify_at(&issuer, &token, NOW_S + 959).await.is_ok(), "clocks differ");
    assert_eq!(served.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn forged_tokens() {
    let (pair, other) = (key_pair(), key_pair());
    let served = served(json!([jwk(&pair, "a")])).await;
    let issuer = Issuer::try_new(&config(&served.url), Path::new(".")).unwrap();
    let good = claims(&served.url);
    let changed = |name: &str, value: Value| signed(&pair, &header("a"), &with(good.clone(), name, value));
    let by_header = |name: &str, value: Value| signed(&pair, &with(header("a"), name, value), &good);
    let token = signed(&pair, &header("a"), &good);
    let (text, signature) = token.rsplit_once('.').unwrap();
    let (head, _) = text.split_once('.').unwrap();
    let swapped =
        BASE64URL.encode(with(good.clone(), "sub", json!("arn:aws:iam::1:role/tenantscope-agent")).to_string());
    let without_exp = {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove("exp");
        signed(&pair, &header("a"), &claims)
    };
    for (what, token, reason) in [
        ("another key", signed(&other, &header("a"), &good), "jwt_signature"),
        ("other claims under the signature", format!("{head}.{swapped}.{signature}"), "jwt_signature"),
        ("no signature", format!("{text}."), "jwt_signature"),
        ("alg none", by_header("alg", json!("none")), "jwt_algorithm"),
        ("the public key as a shared secret", by_header("alg", json!("HS256")), "jwt_algorithm"),
        ("an algorithm that is not configured", by_header("alg", json!("RS256")), "jwt_algorithm"),
        ("an algorithm that is not the key's", by_header("alg", json!("ES384")), "jwt_unknown_key"),
        ("an extension to understand", by_header("crit", json!(["b64"])), "malformed_jwt"),
        ("another audience", changed("aud", json!("https://other.example.com")), "jwt_audience"),
        ("no audience", changed("aud", Value::Null), "jwt_audience"),
        ("another issuer", changed("iss", json!("http://127.0.0.1:1")), "unknown_issuer"),
        ("a longer issuer", changed("iss", json!(format!("{}/x", served.url))), "unknown_issuer"),
        ("another subject", changed("sub", json!("arn:aws:iam::1:role/other")), "jwt_subject"),
        ("expired", changed("exp", json!(NOW_S - 60)), "expired_jwt"),
        ("an expiry that is no number", changed("exp", json!("9999999999")), "expired_jwt"),
        ("no expiry", without_exp, "expired_jwt"),
        ("not yet", changed("nbf", json!(NOW_S + 61)), "future_jwt"),
        ("from the future", changed("iat", json!(NOW_S + 61)), "future_jwt"),
        ("two parts", text.to_owned(), "malformed_jwt"),
        ("four parts", format!("{token}.x"), "malformed_jwt"),
        ("long", format!("{token}{}", "A".repeat(20_000)), "malformed_jwt"),
        ("claims that are no object", signed(&pair, &header("a"), &json!([1])), "malformed_jwt"),
    ] {
        assert_eq!(verify_at(&issuer, &token, NOW_S).await, Err(reason), "{what}");
    }
}

#[tokio::test]
async fn keys_rotate_and_strangers_do_not_make_us_ask() {
    let (old, new) = (key_pair(), key_pair());
    let served = served(json!([jwk(&old, "old")])).await;
    let issuer = Issuer::try_new(&config(&served.url), Path::new(".")).unwrap();
    let by = |pair: &EcdsaKeyPair, kid: &str, now_s: i64| {
        let claims = with(with(claims(&served.url), "exp", json!(now_s + 900)), "iat", json!(now_s));
        signed(pair, &header(kid), &claims)
    };
    let asked = || served.asked.load(Ordering::SeqCst);
    assert!(verify_at(&issuer, &by(&old, "old", NOW_S), NOW_S).await.is_ok());
    *served.keys.lock() = json!([jwk(&new, "new")]);
    // Within half a minute nobody makes us ask again.
    for _ in 0..20 {
        assert_eq!(verify_at(&issuer, &by(&new, "new", NOW_S), NOW_S + 29).await, Err("jwt_unknown_key"));
    }
    assert_eq!(asked(), 1);
    assert!(verify_at(&issuer, &by(&new, "new", NOW_S), NOW_S + 31).await.is_ok());
    assert_eq!(asked(), 2);
    assert_eq!(
        verify_at(&issuer, &by(&old, "old", NOW_S), NOW_S + 32).await,
        Err("jwt_unknown_key"),
        "it was withdrawn"
    );

    // Keys are fetched again each hour, and used on for a day while the issuer is away.
    let later = NOW_S + 7200;
    *served.keys.lock() = json!({ "not": "a list" });
    assert!(verify_at(&issuer, &by(&new, "new", later), later).await.is_ok());
    assert_eq!(asked(), 3);
    let too_late = NOW_S + 31 + 86_400;
    assert_eq!(verify_at(&issuer, &by(&new, "new", too_late), too_late).await, Err("jwks_unreachable"));
}

#[tokio::test]
async fn a_token_of_no_age_is_older_than_any_revocation() {
    let pair = key_pair();
    let served = served(json!([jwk(&pair, "a")])).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tenants.yaml"), r#"tenants: [{id: acme, accounts: ["123456789012"]}]"#).unwrap();
    let registry = Registry::open(&RegistryConfig::of_file("tenants.yaml"), dir.path()).unwrap();
    let config = format!(
        "{{jwt: [{{issuer: \"{}\", audience: \"https://collector.example.com\", algorithms: [ES256], account: \"123456789012\"}}], \
         revoked: [{{account: \"123456789012\", before: \"2026-09-21T14:13:10Z\"}}]}}",
        served.url
    );
    let config: IdentityConfig = serde_saphyr::from_str(&config).unwrap();
    let identity = Identity::try_new(&config, Arc::new(registry), dir.path(), dir.path()).unwrap();
    let sent = async |claims: Value| {
        let bearer = format!("Bearer {}", signed(&pair, &header("a"), &claims));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer.parse().unwrap())]);
        identity.sender(&headers, &Peer::unknown(), NOW_S * 1000).await.map(drop).map_err(|refused| refused.reason)
    };
    let whole = claims(&served.url);
    assert_eq!(sent(whole.clone()).await, Ok(()));
    assert_eq!(sent(with(whole.clone(), "iat", json!(NOW_S - 20))).await, Err("revoked_token"));
    let mut ageless = whole;
    ageless.as_object_mut().unwrap().remove("iat");
    assert_eq!(sent(ageless).await, Err("revoked_token"));
}

#[test]
fn issuers_names() {
    let issuer =
        |name: &str, jwks: &str| Issuer::try_new(&IssuerConfig { jwks: jwks.into(), ..config(name) }, Path::new("."));
    let aws = issuer("https://*.tokens.sts.global.api.aws", "/.well-known/jwks.json").unwrap();
    let is = |issuer: &Issuer, name: &str| {
        let text = BASE64URL.encode(json!({ "iss": name }).to_string());
        let token = format!("{}.{text}.", BASE64URL.encode(r#"{"alg":"ES256"}"#));
        issuer.is_issuer_of(&Unverified::parse(&token).unwrap())
    };
    assert!(is(&aws, "https://abc123-def456.tokens.sts.global.api.aws"));
    for wrong in [
        "https://.tokens.sts.global.api.aws",
        "https://evil.com/.tokens.sts.global.api.aws",
        "https://evil.com#x.tokens.sts.global.api.aws",
        "https://u@x.tokens.sts.global.api.aws",
        "https://a.b.tokens.sts.global.api.aws",
        "http://abc.tokens.sts.global.api.aws",
        "https://abc.tokens.sts.global.api.aws.evil.com",
        "https://abc.tokens.sts.global.api.aws/",
    ] {
        assert!(!is(&aws, wrong), "{wrong}");
    }
    for (name, jwks) in [
        ("http://issuer.example.com", "/jwks"),
        ("https://*", "/jwks"),
        ("https://*.com", "/jwks"),
        ("https://*.*.example.com", "/jwks"),
        ("https://example.com/*", "/jwks"),
        ("https://a.*.example.com", "/jwks"),
        ("https://*.example.com", "https://keys.example.com/jwks"),
        ("https://issuer.example.com", "http://keys.example.com/jwks"),
        ("https://issuer.example.com", "jwks"),
    ] {
        assert!(issuer(name, jwks).is_err(), "{name} {jwks}");
    }
    assert!(issuer("https://issuer.example.com/id/1", "https://keys.example.com/jwks").is_ok());
    let no_algorithm = IssuerConfig { algorithms: Vec::new(), ..config("https://issuer.example.com") };
    assert!(Issuer::try_new(&no_algorithm, Path::new(".")).is_err());
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// Of an issuer where nobody answers.
    static ISSUER: Issuer = {
        let config = IssuerConfig {
            issuer: "http://127.0.0.1:1".to_owned(),
            audience: OneOrMany::One("tenantscope".to_owned()),
            algorithms: vec![crate::Algorithm::ES256],
            jwks: "/keys".to_owned(),
            subject: Some("arn:aws:sts::*:assumed-role/r/*".to_owned()),
            ca: None,
        };
        Issuer::try_new(&config, Path::new(".")).unwrap()
    };
}

/// A token, or its parts as lines: header, claims, signature.
#[test]
fn jwt() {
    tenantscope_fuzz::fuzz!("jwt", |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let mut parts = text.splitn(3, '\n').map(|part| BASE64URL.encode(part));
        let mut part = || parts.next().unwrap_or_default();
        let made = format!("{}.{}.{}", part(), part(), part());
        for token in [text, &made] {
            let Ok(unverified) = Unverified::parse(token) else { continue };
            let verified = RUNTIME
                .with(|runtime| ISSUER.with(|issuer| runtime.block_on(issuer.verify(&unverified, FROM, NOW_S * 1000))));
            assert!(verified.is_err(), "nobody signed {token}");
        }
    });
}
