//! A proxy before an API server, for tests of what happens between two of its answers: it holds back
//! watches and refuses reads of one resource when it is told to.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::apis::Endpoint;

/// What is kept from going through; names of resources such as `machines`.
#[derive(Debug, Clone, Default)]
struct Rules {
    held: Option<&'static str>,
    refused: Option<&'static str>,
    /// Reads of single objects and lists that went through, by path and query.
    reads: Vec<String>,
}

/// A running proxy; it ends with its value.
#[derive(Debug)]
pub struct Proxy {
    rules: watch::Sender<Rules>,
    task: JoinHandle<()>,
    dir: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Behind {
    endpoint: Endpoint,
    http: reqwest::Client,
    rules: watch::Sender<Rules>,
}

impl Proxy {
    /// Starts one before a server.
    ///
    /// # Errors
    /// When it cannot listen or write its kubeconfig.
    pub async fn start(endpoint: &Endpoint) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let dir = tempfile::tempdir()?;
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {"token": endpoint.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]});
        std::fs::write(path(&dir), kubeconfig.to_string()).context("write a kubeconfig")?;
        let rules = watch::Sender::default();
        let behind = Arc::new(Behind {
            endpoint: endpoint.clone(),
            http: endpoint.http()?,
            rules: rules.clone(),
        });
        let router = Router::new().fallback(forward).with_state(behind);
        #[expect(clippy::disallowed_methods, reason = "aborted with the proxy")]
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Ok(Self { rules, task, dir })
    }

    /// Path of a kubeconfig that leads through it.
    pub fn kubeconfig(&self) -> PathBuf {
        path(&self.dir)
    }

    /// Holds back what watches of a resource bring; `None` lets it go.
    pub fn hold(&self, resource: Option<&'static str>) {
        self.rules.send_modify(|rules| rules.held = resource);
    }

    /// Answers reads of a resource with 503; `None` lets them through.
    pub fn refuse(&self, resource: Option<&'static str>) {
        self.rules.send_modify(|rules| rules.refused = resource);
    }

    /// Reads of a resource, other than watches, that went through so far.
    pub fn reads(&self, resource: &str) -> Vec<String> {
        let rules = self.rules.borrow();
        let reads = rules.reads.iter().filter(|uri| is_of(uri, resource));
        reads.cloned().collect()
    }
}

fn path(dir: &TempDir) -> PathBuf {
    Path::join(dir.path(), "kubeconfig")
}

/// Whether a path and query is about a resource: its list, its watch or one of its objects.
fn is_of(uri: &str, resource: &str) -> bool {
    let path = uri.split('?').next().unwrap_or_default();
    path.split('/').rev().take(2).any(|word| word == resource)
}

async fn forward(
    State(behind): State<Arc<Behind>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = uri.to_string();
    let is_watch = uri.query().is_some_and(|query| query.contains("watch="));
    if method == Method::GET && !is_watch {
        let refused = behind.rules.borrow().refused;
        if refused.is_some_and(|resource| is_of(&target, resource)) {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503,
                "reason": "ServiceUnavailable", "message": "refused by a test", "metadata": {}});
            return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(status)).into_response();
        }
        behind
            .rules
            .send_modify(|rules| rules.reads.push(target.clone()));
    }
    let url = format!("{}{target}", behind.endpoint.url);
    let mut request = behind
        .http
        .request(method, url)
        .bearer_auth(&behind.endpoint.token)
        .body(body);
    for name in [header::CONTENT_TYPE, header::ACCEPT] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value.clone());
        }
    }
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let (status, kind) = (
        answer.status(),
        answer.headers().get(header::CONTENT_TYPE).cloned(),
    );
    let rules = behind.rules.clone();
    let chunks = answer.bytes_stream().then(move |chunk| {
        let (mut rules, target) = (rules.subscribe(), target.clone());
        async move {
            let is_free = |rules: &Rules| {
                let held = rules.held.filter(|_| is_watch);
                !held.is_some_and(|resource| is_of(&target, resource))
            };
            rules.wait_for(is_free).await.ok();
            chunk
        }
    });
    let mut response = Response::new(Body::from_stream(chunks));
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
