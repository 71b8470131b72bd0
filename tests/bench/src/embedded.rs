//! The embedded Kubernetes API of a metalman in standalone mode, as an administrator uses it.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use serde_json::Value;

/// A client with the kubeconfig that metalman wrote into its state folder.
#[derive(Debug, Clone)]
pub struct Embedded {
    client: reqwest::Client,
    server: String,
    token: String,
}

impl Embedded {
    /// Reads the kubeconfig; nothing is sent. The process has a crypto provider.
    pub fn open(kubeconfig: &Path) -> Result<Self> {
        let config: Value = serde_json::from_slice(&std::fs::read(kubeconfig)?)?;
        let text = |pointer: &str| {
            let value = config.pointer(pointer).and_then(Value::as_str);
            value.with_context(|| format!("no {pointer} in {}", kubeconfig.display()))
        };
        let ca = text("/clusters/0/cluster/certificate-authority-data")?;
        let ca = base64::engine::general_purpose::STANDARD.decode(ca)?;
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
            .http1_only()
            .build()?;
        Ok(Self {
            client,
            server: text("/clusters/0/cluster/server")?.to_owned(),
            token: text("/users/0/user/token")?.to_owned(),
        })
    }

    /// Makes an object; one that is there already stays as it is.
    pub async fn create(&self, path: &str, object: &Value) -> Result<()> {
        let request = self.client.post(format!("{}/{path}", self.server));
        let answer = request.bearer_auth(&self.token).json(object).send().await?;
        let status = answer.status();
        if !status.is_success() && status.as_u16() != 409 {
            bail!("POST {path}: {status}: {}", answer.text().await?);
        }
        Ok(())
    }

    /// Reads an object or a list.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}/{path}", self.server));
        let answer = request.bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}
