//! The embedded Kubernetes API of a metalman in standalone mode, or a real one, as an administrator
//! uses it.

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

    /// Makes an object and gives it back.
    pub async fn post(&self, path: &str, object: &Value) -> Result<Value> {
        let request = self.client.post(format!("{}/{path}", self.server));
        self.send(path, request.json(object)).await
    }

    /// Changes an object by a merge patch and gives it back.
    pub async fn patch(&self, path: &str, change: &Value) -> Result<Value> {
        let request = self.client.patch(format!("{}/{path}", self.server));
        let request = request.header("content-type", "application/merge-patch+json");
        self.send(path, request.body(change.to_string())).await
    }

    /// Changes an object by a merge patch; its new state is read and not looked at.
    pub async fn merge_patch(&self, path: &str, change: &Value) -> Result<()> {
        self.patch(path, change).await.map(drop)
    }

    async fn send(&self, path: &str, request: reqwest::RequestBuilder) -> Result<Value> {
        let answer = request.bearer_auth(&self.token).send().await?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{path}: {status}: {}", answer.text().await?);
        }
        Ok(answer.json().await?)
    }

    /// Opens a watch after a version, or of everything.
    pub async fn watch(&self, path: &str, since: Option<u64>) -> Result<reqwest::Response> {
        let since = since.map_or(String::new(), |v| format!("&resourceVersion={v}"));
        let request = self
            .client
            .get(format!("{}/{path}?watch=true{since}", self.server));
        let answer = request.bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?)
    }

    /// Reads an object or a list.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}/{path}", self.server));
        let answer = request.bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}
