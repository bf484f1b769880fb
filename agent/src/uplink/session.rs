use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use http::HeaderValue;
use tenantscope_model::Region;
use tenantscope_wire::client::{SendError, SendErrorKind};
use tenantscope_wire::{AgentMode, IdentityRequest, IdentityResponse, Name, OtlpClient, ProofOfAccount, proof};
use tokio::sync::{Mutex, Notify};

use super::Documents;
use crate::aws::Aws;
use crate::config::Proof;
use crate::spool::{Spool, SpoolError};
use crate::{aws, clock, telemetry};

/// A token is renewed when this part of its time is left.
const RENEW_WHEN_LEFT: f64 = 0.2;
/// The shortest time between two exchanges that a collector may ask for.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// How long a renewal that failed is left alone while the old token holds.
const RETRY_WAIT: Duration = Duration::from_secs(10);

/// What is said where no place has any.
const NO_CREDENTIALS: &str = "there are none in environment, profile, container or instance metadata";

/// Why there are no credentials, in one line.
fn reason(error: &CredentialsError) -> String {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => NO_CREDENTIALS.to_owned(),
        error => aws::chain(error).split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned(),
    }
}

/// The agent's standing with the collector: the token in force, and how to get the next one.
pub struct Session {
    client: OtlpClient,
    agent: Name,
    mode: AgentMode,
    server_name: String,
    proof: Proof,
    aws: Aws,
    spool: Spool,
    documents: Arc<Documents>,
    token: Mutex<Option<Token>>,
    /// Whether the collector answers who shows the token that it holds; one of release 0.1.0 does not.
    answers_holders: AtomicBool,
    /// Whether there is something to tell that the collector was not told.
    has_news: AtomicBool,
    soon: Notify,
}

/// What goes with a batch.
#[derive(Clone)]
pub struct Standing {
    /// The `authorization` header; none towards a collector in open mode.
    pub authorization: Option<HeaderValue>,
    /// The spool's epoch.
    pub epoch: u64,
    generation: u64,
}

struct Token {
    standing: Standing,
    /// The token itself; empty towards a collector in open mode.
    text: String,
    /// When the collector is to be asked what to go by, before the token is renewed.
    ask_at: Option<Instant>,
    renew_at: Option<Instant>,
    ends_at: Option<Instant>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The AWS configuration has no credentials.
    #[error(
        "no AWS credentials to prove the account with: {0}; give the task, function or instance a role, or set AWS_PROFILE \
         or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; outside AWS use another proof (key `proof`)"
    )]
    Credentials(String),
    /// The AWS configuration has no region.
    #[error("no AWS region to prove the account in (AWS_REGION, or region in the profile)")]
    Region,
    /// The web identity token cannot be read.
    #[error("{path}: {source}", path = path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The proof cannot be signed.
    #[error(transparent)]
    Sign(#[from] proof::SignError),
    /// The collector did not give one.
    #[error("identity exchange: {0}")]
    Exchange(#[from] SendError),
    /// The collector's answer is of no use.
    #[error("identity exchange: the collector's answer has {0}")]
    Answer(&'static str),
    /// The epoch cannot be stored.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl SessionError {
    /// Whether the collector refused the proof for good, as far as it knows now.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Exchange(error) if !error.retryable())
    }
}

impl Session {
    /// A session that has no token yet.
    pub fn new(
        client: OtlpClient,
        agent: Name,
        mode: AgentMode,
        (server_name, proof): (String, Proof),
        aws: Aws,
        spool: Spool,
        documents: Arc<Documents>,
    ) -> Self {
        let (token, has_news, soon) = (Mutex::new(None), AtomicBool::new(false), Notify::new());
        let answers_holders = AtomicBool::new(true);
        Self { client, agent, mode, server_name, proof, aws, spool, documents, token, answers_holders, has_news, soon }
    }

    /// The agent's name.
    pub fn agent(&self) -> &Name {
        &self.agent
    }

    /// The client to send with.
    pub fn client(&self) -> &OtlpClient {
        &self.client
    }

    /// What goes with the next batch; asks the collector when there is no token or it ends soon. Callers wait for each
    /// other, so that there is one exchange at a time.
    pub async fn standing(&self) -> Result<Standing, SessionError> {
        let mut token = self.token.lock().await;
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Some(held) = token.as_mut().filter(|held| !due(held.renew_at))
            && (!due(held.ask_at) || self.ask(held).await)
        {
            return Ok(held.standing.clone());
        }
        let generation = token.as_ref().map_or(1, |held| held.standing.generation + 1);
        match self.obtain(generation).await {
            Ok(fresh) => {
                let standing = fresh.standing.clone();
                *token = Some(fresh);
                Ok(standing)
            }
            // The old one holds a while yet: better that than nothing.
            Err(error) => match token.as_mut().filter(|held| !due(held.ends_at)) {
                Some(held) => {
                    tracing::warn!(%error, "token could not be renewed yet");
                    (held.ask_at, held.renew_at) = (None, now.checked_add(RETRY_WAIT));
                    Ok(held.standing.clone())
                }
                None => Err(error),
            },
        }
    }

    /// The collector does not take this token any more.
    pub async fn invalidate(&self, standing: &Standing) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|held| held.standing.generation == standing.generation) {
            *token = None;
        }
    }

    /// Has the collector told soon what became of its document.
    pub fn ask_soon(&self) {
        self.has_news.store(true, Ordering::Relaxed);
        self.soon.notify_one();
    }

    /// Tells the collector what became of its document, if it was not told.
    pub async fn tell(&self) -> Result<(), SessionError> {
        if self.has_news.load(Ordering::Relaxed) {
            self.make_due().await;
            self.standing().await?;
        }
        Ok(())
    }

    async fn make_due(&self) {
        // Without a proof there is no exchange that could be due.
        if let Some(held) = self.token.lock().await.as_mut().filter(|held| held.ends_at.is_some()) {
            held.ask_at = Some(Instant::now());
        }
    }

    /// Waits until the token is to be renewed or the collector to be asked, until somebody wants to ask, or for this time.
    pub async fn due(&self, at_most: Duration) {
        let wait = {
            let token = self.token.lock().await;
            let next = token.as_ref().and_then(|held| held.renew_at.into_iter().chain(held.ask_at).min());
            next.map_or(at_most, |at| at.saturating_duration_since(Instant::now()).min(at_most))
        };
        tokio::select! {
            () = tokio::time::sleep(wait.max(SHORTEST_WAIT)) => {}
            () = self.soon.notified() => self.make_due().await,
        }
    }

    /// Asks what to go by with the token that is held; whether it still holds. Without a proof it costs next to nothing.
    async fn ask(&self, held: &mut Token) -> bool {
        if !self.answers_holders.load(Ordering::Relaxed) {
            return false;
        }
        let request = self.request(ProofOfAccount::Held { token: held.text.clone() }, false);
        let answer = self.client.identify(&request).await;
        telemetry::asked(answer.is_ok());
        let pause = match &answer {
            Ok(answer) => {
                self.documents.told(answer);
                answer.ask_again_ms.map(|wait| Duration::from_millis(wait).max(SHORTEST_WAIT))
            }
            Err(error) => {
                self.has_news.store(true, Ordering::Relaxed);
                if error.kind == SendErrorKind::Refused {
                    self.answers_holders.store(false, Ordering::Relaxed);
                }
                if !error.retryable() {
                    return false;
                }
                tracing::debug!(%error, "the collector does not say what to go by");
                Some(RETRY_WAIT)
            }
        };
        held.ask_at = pause.and_then(|pause| Instant::now().checked_add(pause));
        true
    }

    /// What is asked, with what became of the documents before.
    fn request(&self, proof: ProofOfAccount, wants_epoch: bool) -> IdentityRequest {
        self.has_news.store(false, Ordering::Relaxed);
        let (document_version, report) = self.documents.report();
        IdentityRequest {
            agent: self.agent.clone(),
            mode: self.mode,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            proof,
            wants_epoch,
            document_version,
            documents: Some(report),
        }
    }

    /// Takes TLS files that were written since; files that are wrong leave those before in force.
    pub async fn renew_tls(&self) {
        let client = self.client.clone();
        match tokio::task::spawn_blocking(move || client.renew_if_written()).await {
            Ok(Ok(true)) => tracing::info!("certificates were written, new connections use them"),
            Ok(Err(error)) => tracing::warn!(%error, "certificates can't be renewed, those before stay"),
            // The task neither panics nor is aborted.
            Ok(Ok(false)) | Err(_) => {}
        }
    }

    async fn obtain(&self, generation: u64) -> Result<Token, SessionError> {
        let Some(proof) = self.proof().await? else {
            let epoch = self.own_epoch().await?;
            let standing = Standing { authorization: None, epoch, generation };
            return Ok(Token { standing, text: String::new(), ask_at: None, renew_at: None, ends_at: None });
        };
        self.renew_tls().await;
        let answer = self.client.identify(&self.request(proof, self.spool.epoch().is_none())).await;
        telemetry::identity(answer.is_ok());
        self.take(answer?, generation).await
    }

    async fn take(&self, answer: IdentityResponse, generation: u64) -> Result<Token, SessionError> {
        self.documents.told(&answer);
        let epoch = match self.spool.epoch() {
            Some(epoch) => epoch,
            None => {
                let epoch = answer.epoch.ok_or(SessionError::Answer("no epoch"))?;
                self.spool.adopt(&answer.positions);
                self.store_epoch(epoch).await?;
                epoch
            }
        };
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", answer.token))
            .map_err(|_| SessionError::Answer("a token that is no header value"))?;
        authorization.set_sensitive(true);
        tracing::info!(account = ?answer.account, tenant = ?answer.tenant, epoch, "the collector knows this agent");
        let valid_for = Duration::from_millis(answer.valid_for_ms);
        let ask_again = answer.ask_again_ms.map(|wait| Duration::from_millis(wait).max(SHORTEST_WAIT));
        let renew_after = valid_for.mul_f64(1.0 - RENEW_WHEN_LEFT);
        let (now, by_proof) = (Instant::now(), !self.answers_holders.load(Ordering::Relaxed));
        Ok(Token {
            standing: Standing { authorization: Some(authorization), epoch, generation },
            text: answer.token,
            ask_at: ask_again.filter(|_| !by_proof).and_then(|wait| now.checked_add(wait)),
            renew_at: now.checked_add(ask_again.filter(|_| by_proof).unwrap_or(renew_after).min(renew_after)),
            ends_at: now.checked_add(valid_for),
        })
    }

    async fn proof(&self) -> Result<Option<ProofOfAccount>, SessionError> {
        match &self.proof {
            Proof::None => Ok(None),
            Proof::Certificate => Ok(Some(ProofOfAccount::Certificate)),
            Proof::Token(token) => Ok(Some(ProofOfAccount::Token { token: token.clone() })),
            Proof::Jwt(file) => {
                let unreadable = |source| SessionError::TokenFile { path: file.clone(), source };
                let token = tokio::fs::read_to_string(file).await.map_err(unreadable)?;
                Ok(Some(ProofOfAccount::Jwt { token: token.trim().to_owned() }))
            }
            Proof::Sts => {
                let missing = || SessionError::Credentials(NO_CREDENTIALS.to_owned());
                let aws = self.aws.config().await;
                let provider = aws.credentials_provider().ok_or_else(missing)?;
                let credentials = provider.provide_credentials().await;
                let credentials = credentials.map_err(|error| SessionError::Credentials(reason(&error)))?;
                let region = aws.region().and_then(|region| Region::try_new(region.as_ref()).ok());
                let region = region.ok_or(SessionError::Region)?;
                let nonce = format!("{:032x}", rand::random::<u128>());
                let signed = proof::Proof::sign(&credentials, &region, &self.server_name, &nonce, SystemTime::now())?;
                Ok(Some(ProofOfAccount::Sts(signed)))
            }
        }
    }

    /// Without an identity nobody hands out epochs; the clock does, since a new spool is younger than the old one.
    async fn own_epoch(&self) -> Result<u64, SessionError> {
        match self.spool.epoch() {
            Some(epoch) => Ok(epoch),
            None => {
                let epoch = u64::try_from(clock::now_ms()).unwrap_or(0);
                self.store_epoch(epoch).await?;
                Ok(epoch)
            }
        }
    }

    async fn store_epoch(&self, epoch: u64) -> Result<(), SessionError> {
        let spool = self.spool.clone();
        let stored = tokio::task::spawn_blocking(move || spool.set_epoch(epoch)).await;
        // The task neither panics nor is aborted; if it were, the epoch would not be durable.
        stored.unwrap_or(Err(SpoolError::Stopped))?;
        Ok(())
    }
}
