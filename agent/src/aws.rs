//! The way to AWS: one configuration and HTTP client for all services, and every call counted.

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, tls};
use tenantscope_model::{AccountId, Region};
use tokio::sync::OnceCell;

use crate::telemetry::{self, CallOutcome};

/// Attempts of one call; the SDK waits longer from one to the next, and when it is throttled.
const MAX_ATTEMPTS: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(20);
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The error codes that ask for fewer calls.
const THROTTLING_CODES: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "LimitExceededException",
];

/// Why a call failed, after all its attempts.
#[derive(Debug, thiserror::Error)]
#[error("{service} {operation}: {message}")]
pub struct CallError {
    /// The service.
    pub service: &'static str,
    /// The operation.
    pub operation: &'static str,
    /// AWS's error code, where it answered with one.
    pub code: Option<String>,
    /// What went wrong.
    pub message: String,
}

/// The configuration, loaded when it is needed first; clones share it.
#[derive(Clone, Default)]
pub struct Aws(Arc<OnceCell<SdkConfig>>);

impl Aws {
    /// The configuration.
    pub async fn config(&self) -> &SdkConfig {
        self.0.get_or_init(load).await
    }
}

/// Loads credentials, region and endpoint as every AWS program does: variables, profile, container, instance.
async fn load() -> SdkConfig {
    let client = Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https();
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF)
        .with_max_backoff(LONGEST_BACKOFF);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .retry_config(retries)
        .timeout_config(timeouts)
        .load()
        .await
}

/// The same configuration for another region.
pub fn in_region(config: &SdkConfig, region: &Region) -> SdkConfig {
    config.to_builder().region(aws_config::Region::new(region.as_str().to_owned())).build()
}

/// The account that the credentials belong to.
pub async fn account(config: &SdkConfig) -> Result<AccountId, CallError> {
    let client = aws_sdk_sts::Client::new(config);
    let answer = call("sts", "GetCallerIdentity", client.get_caller_identity().send()).await?;
    let account = answer.account().unwrap_or_default();
    AccountId::try_new(account).map_err(|error| CallError {
        service: "sts",
        operation: "GetCallerIdentity",
        code: None,
        message: error.to_string(),
    })
}

/// Awaits a call, counts it, and turns its error into one type.
pub async fn call<T, E, R>(
    service: &'static str,
    operation: &'static str,
    call: impl Future<Output = Result<T, SdkError<E, R>>>,
) -> Result<T, CallError>
where
    E: ProvideErrorMetadata + Error + 'static,
    R: Debug + 'static,
{
    match call.await {
        Ok(answer) => {
            telemetry::api_call(service, operation, CallOutcome::Ok);
            Ok(answer)
        }
        Err(error) => {
            let code = error.code().map(str::to_owned);
            let throttled = code.as_deref().is_some_and(|code| THROTTLING_CODES.contains(&code));
            let outcome = if throttled { CallOutcome::Throttled } else { CallOutcome::Error };
            telemetry::api_call(service, operation, outcome);
            let message = match (&code, error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.clone(),
                (None, _) => chain(&error),
            };
            Err(CallError { service, operation, code, message })
        }
    }
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
