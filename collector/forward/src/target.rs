//! A configured target: its client, and the headers that go with each request.

use std::path::PathBuf;

use http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use tenantscope_wire::BatchHeader;
use tenantscope_wire::client::{ClientOptions, OtlpClient, Protocol, SendError, SendErrorKind};

use crate::answer::Answer;
use crate::batch::Batch;
use crate::config::{TargetConfig, TargetError, TargetKind};

/// Shared by the target's lanes, and so are its connections.
pub(crate) struct Target {
    config: TargetConfig,
    client: OtlpClient,
    base: PathBuf,
    authorization: Mutex<Option<HeaderValue>>,
}

impl Target {
    /// Reads the token; connects to nothing yet. `base` is the folder of the configuration file.
    pub(crate) fn open(config: TargetConfig, base: PathBuf) -> Result<Self, TargetError> {
        let protocol = match config.kind {
            TargetKind::OtlpGrpc => Protocol::Grpc,
            TargetKind::OtlpHttp => Protocol::Http,
        };
        let options = ClientOptions {
            ca_file: config.ca_file.as_ref().map(|path| base.join(path)),
            timeout: config.timeout,
            ..ClientOptions::new(config.url.to_string(), protocol)
        };
        let client = OtlpClient::try_new(&options)
            .map_err(|source| TargetError::Client { target: config.name.clone(), source })?;
        let authorization = Mutex::new(config.read_token(&base)?);
        Ok(Self { config, client, base, authorization })
    }

    pub(crate) fn config(&self) -> &TargetConfig {
        &self.config
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    pub(crate) async fn send(&self, batch: &Batch, header: &BatchHeader) -> Answer {
        let headers = self.headers(header);
        match self.client.send(batch.signal, batch.encoding, batch.bytes.clone(), &headers).await {
            Ok(accepted) => Answer::Taken { rejected: accepted.rejected, message: accepted.message },
            Err(error) => answer_of(error),
        }
    }

    fn headers(&self, header: &BatchHeader) -> HeaderMap {
        let mut headers: HeaderMap = self.config.headers.iter().cloned().collect();
        if let Some(authorization) = self.authorization.lock().clone() {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        header.to_headers(&mut headers);
        headers
    }

    /// A token file may have been replaced since; one that can't be read leaves the old token in force.
    pub(crate) async fn read_token_again(&self) {
        let (config, base) = (self.config.clone(), self.base.clone());
        match tokio::task::spawn_blocking(move || config.read_token(&base)).await {
            Ok(Ok(token)) => *self.authorization.lock() = token,
            Ok(Err(error)) => tracing::error!(%error, "token can't be read again"),
            Err(error) => tracing::error!(%error, "token can't be read again"),
        }
    }
}

fn answer_of(error: SendError) -> Answer {
    let message = error.message;
    let later = |reason| Answer::Later { reason, message: message.clone(), after: error.retry_after };
    match error.kind {
        SendErrorKind::Refused => Answer::Never { reason: "refused", message },
        SendErrorKind::Unauthenticated | SendErrorKind::Forbidden => Answer::Unauthorized { message },
        SendErrorKind::Throttled => later("throttled"),
        SendErrorKind::Unavailable => later("unavailable"),
        SendErrorKind::Unreachable => later("unreachable"),
        SendErrorKind::TimedOut => later("timed_out"),
    }
}
