//! `report`: asks the running collector for SLO reports and writes them into files.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Certificate, Client, StatusCode};
use serde::Deserialize;

use crate::cli::{Asking, Report};
use crate::config::Config;

/// What the collector answers to a request for the names of tenants with a report.
#[derive(Deserialize)]
struct Tenants {
    tenants: Vec<String>,
}

/// Writes the reports; how many.
pub async fn write(options: &Report) -> Result<usize> {
    let config = Config::read(&options.asking.config)?;
    let asker = Asker::try_new(&config, "/tenantscope/v1/reports", &options.asking)?;
    let tenants = match &options.tenant {
        Some(tenant) => vec![tenant.clone()],
        None => asker.tenants(&options.month).await?,
    };
    std::fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    for tenant in &tenants {
        let report = asker.report(&options.month, tenant, options.format.as_str()).await?;
        let path = options.out.join(format!("{tenant}.{}", options.format.as_str()));
        std::fs::write(&path, report).with_context(|| path.display().to_string())?;
    }
    Ok(tenants.len())
}

/// The token in a file.
fn read_token(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.trim().to_owned())
}

/// The certificates in a file.
fn read_certificates(path: &Path) -> Result<Vec<Certificate>> {
    let read = || -> Result<_> { Ok(Certificate::from_pem_bundle(&std::fs::read(path)?)?) };
    let certificates = read().with_context(|| path.display().to_string())?;
    if certificates.is_empty() {
        bail!("{}: it holds no certificate", path.display());
    }
    Ok(certificates)
}

/// Who asks the running collector.
pub(crate) struct Asker {
    client: Client,
    base: String,
    token: Option<String>,
}

/// How long one report may take.
const TIMEOUT: Duration = Duration::from_secs(300);

impl Asker {
    /// Asks where the collector of this configuration listens; with TLS under the name that its certificate is for.
    pub(crate) fn try_new(config: &Config, path: &str, asking: &Asking) -> Result<Self> {
        let address = config.http();
        let token = asking.token_file.as_deref().map(read_token).transpose()?;
        let mut client = Client::builder().timeout(TIMEOUT);
        if let Some(ca) = &asking.ca {
            client = client.tls_certs_only(read_certificates(ca)?);
        }
        let (client, authority) = match (&config.listen.tls, &config.identity.server_name) {
            (Some(_), Some(name)) => (client.resolve(name, address), format!("https://{name}:{}", address.port())),
            (Some(_), None) => (client, format!("https://{address}")),
            (None, _) => (client, format!("http://{address}")),
        };
        Ok(Self { client: client.build()?, base: format!("{authority}{path}"), token })
    }

    async fn tenants(&self, month: &str) -> Result<Vec<String>> {
        let body = self.get(&[("month", month)]).await?;
        let answer: Tenants = serde_json::from_slice(&body).context("the collector's list of reports")?;
        Ok(answer.tenants)
    }

    async fn report(&self, month: &str, tenant: &str, format: &str) -> Result<Vec<u8>> {
        self.get(&[("month", month), ("tenant", tenant), ("format", format)]).await
    }

    /// Asks for something to be told.
    pub(crate) async fn get(&self, parameters: &[(&str, &str)]) -> Result<Vec<u8>> {
        let url = url::Url::parse_with_params(&self.base, parameters)?;
        Ok(self.send(self.client.get(url)).await?.1)
    }

    /// Asks for something to be done.
    pub(crate) async fn post(&self, parameters: &[(&str, &str)]) -> Result<(StatusCode, Vec<u8>)> {
        let url = url::Url::parse_with_params(&self.base, parameters)?;
        self.send(self.client.post(url)).await
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>)> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let asked = || format!("the collector can't be asked at {}", self.base);
        let response = request.send().await.with_context(asked)?;
        let status = response.status();
        let body = response.bytes().await.with_context(asked)?;
        if !status.is_success() {
            bail!("{} answered {status}: {}", self.base, String::from_utf8_lossy(&body).trim());
        }
        Ok((status, body.to_vec()))
    }
}
