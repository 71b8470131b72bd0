//! The real server, from the binaries in `KUBEBUILDER_ASSETS`: etcd, kube-apiserver as the front
//! door and for core kinds, `apiext136` (the CRD server of Kubernetes 1.36) behind it for custom
//! resources, and the controller manager for namespaces and owners.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::roles::{self, VIEWER, VIEWER_TOKEN};
use super::{Endpoint, definitions, pki};
use crate::wait::until;

/// Name of the administrator's token in the token file.
const TOKEN: &str = "administrator-of-a-test";

/// The directory with the binaries, when the environment names one.
pub fn assets() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the environment of the test run")]
    let value = std::env::var("KUBEBUILDER_ASSETS").ok();
    value.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// A running real server.
#[derive(Debug)]
pub struct Reference {
    /// Where it is.
    pub endpoint: Endpoint,
    // Children end before the directory goes; fields are dropped in this order.
    children: Vec<Child>,
    directory: TempDir,
}

impl Reference {
    /// Starts it with [`definitions`].
    ///
    /// # Errors
    /// A binary that is missing, or a server that does not get ready.
    #[expect(
        clippy::too_many_lines,
        reason = "most of them are the flags of four programs"
    )]
    pub async fn start(assets: &Path) -> Result<Self> {
        let directory = tempfile::tempdir().context("make a directory")?;
        let dir = directory.path();
        let ca = pki::write(dir)?;
        std::fs::write(dir.join("tokens.csv"), tokens())?;
        let [port, etcd, peers, definitions_port, controllers] = free_ports()?;
        let endpoint = Endpoint::new(
            dir,
            format!("https://127.0.0.1:{port}"),
            ca,
            TOKEN.to_owned(),
        )?;
        let mut server = Self {
            endpoint,
            children: Vec::new(),
            directory,
        };
        let etcd_url = format!("http://127.0.0.1:{etcd}");
        let peer_url = format!("http://127.0.0.1:{peers}");
        server.run(
            assets,
            "etcd",
            &[
                "--data-dir=etcd",
                "--unsafe-no-fsync",
                &format!("--listen-client-urls={etcd_url}"),
                &format!("--advertise-client-urls={etcd_url}"),
                &format!("--listen-peer-urls={peer_url}"),
                &format!("--initial-advertise-peer-urls={peer_url}"),
                &format!("--initial-cluster=default={peer_url}"),
            ],
        )?;
        let etcd_flag = format!("--etcd-servers={etcd_url}");
        server.run(
            assets,
            "kube-apiserver",
            &[
                &etcd_flag,
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                &format!("--secure-port={port}"),
                "--insecure-port=0",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--tls-cert-file=apiserver.crt",
                "--tls-private-key-file=apiserver.key",
                "--token-auth-file=tokens.csv",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-account-signing-key-file=accounts.key",
                "--service-account-key-file=accounts.pub",
                "--requestheader-client-ca-file=ca.crt",
                "--requestheader-allowed-names=front-proxy",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                "--proxy-client-cert-file=front-proxy.crt",
                "--proxy-client-key-file=front-proxy.key",
                "--disable-admission-plugins=ServiceAccount",
                "--enable-priority-and-fairness=false",
            ],
        )?;
        server.ready("/readyz", |code, _| code == 200).await?;
        server.run(
            assets,
            "apiext136",
            &[
                &etcd_flag,
                "--etcd-prefix=/registry-crd",
                "--bind-address=127.0.0.1",
                &format!("--secure-port={definitions_port}"),
                "--tls-cert-file=apiserver.crt",
                "--tls-private-key-file=apiserver.key",
                "--kubeconfig=kubeconfig",
                "--authentication-kubeconfig=kubeconfig",
                "--authorization-kubeconfig=kubeconfig",
                "--enable-priority-and-fairness=false",
                "--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook,\
             ValidatingAdmissionPolicy,MutatingAdmissionPolicy",
            ],
        )?;
        server.run(
            assets,
            "kube-controller-manager",
            &[
                "--kubeconfig=kubeconfig",
                "--leader-elect=false",
                "--controllers=namespace,garbagecollector",
                "--bind-address=127.0.0.1",
                &format!("--secure-port={controllers}"),
                "--port=0",
                "--cert-dir=controllers",
            ],
        )?;
        server.define().await?;
        server.grant().await?;
        Ok(server)
    }

    /// Creates the definitions and waits until their objects can be listed.
    async fn define(&self) -> Result<()> {
        const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        // The front door has definitions of its own until the other server took them over.
        let service = "/apis/apiregistration.k8s.io/v1/apiservices/v1.apiextensions.k8s.io";
        self.ready(service, |_, body| {
            body.pointer("/spec/service/name").is_some()
                && body.pointer("/status/conditions/0/status") == Some(&Value::from("True"))
        })
        .await?;
        let http = self.endpoint.http()?;
        let mut lists = Vec::new();
        for definition in definitions() {
            let create = || async {
                let request = http
                    .post(format!("{}{PATH}", self.endpoint.url))
                    .bearer_auth(&self.endpoint.token)
                    .header("content-type", "application/json")
                    .body(definition.to_string());
                let answer = request.send().await.ok()?;
                match answer.status().as_u16() {
                    201 | 409 => Some(String::new()),
                    400 | 422 => answer.text().await.ok(),
                    _ => None,
                }
            };
            let refusal = until("the real server to take a definition", create).await?;
            ensure!(
                refusal.is_empty(),
                "the real server refuses a definition: {refusal}"
            );
            let text = |pointer: &str| {
                let found = definition.pointer(pointer).and_then(Value::as_str);
                found
                    .map(str::to_owned)
                    .context("a definition is incomplete")
            };
            let (group, plural) = (text("/spec/group")?, text("/spec/names/plural")?);
            lists.push(format!(
                "/apis/{group}/{}/{plural}",
                text("/spec/versions/0/name")?
            ));
        }
        for list in lists {
            self.ready(&list, |code, _| code == 200).await?;
        }
        Ok(())
    }

    /// Creates the roles.
    async fn grant(&self) -> Result<()> {
        let http = self.endpoint.http()?;
        for (path, body) in roles::objects() {
            let request = http
                .post(format!("{}{path}", self.endpoint.url))
                .bearer_auth(&self.endpoint.token)
                .header("content-type", "application/json")
                .body(body.to_string());
            let answer = request.send().await?;
            let code = answer.status().as_u16();
            ensure!(
                matches!(code, 201 | 409),
                "the real server refuses {path}: {}",
                answer.text().await?
            );
        }
        Ok(())
    }

    async fn ready(&self, path: &str, good: fn(u16, &Value) -> bool) -> Result<()> {
        let http = self.endpoint.http()?;
        let ask = || async {
            let request = http
                .get(format!("{}{path}", self.endpoint.url))
                .bearer_auth(&self.endpoint.token);
            let answer = request.send().await.ok()?;
            let code = answer.status().as_u16();
            let body = serde_json::from_slice(&answer.bytes().await.ok()?).unwrap_or_default();
            good(code, &body).then_some(())
        };
        until(&format!("the real server to answer {path}"), ask).await
    }

    fn run(&mut self, assets: &Path, program: &str, arguments: &[&str]) -> Result<()> {
        let dir = self.directory.path();
        let log = std::fs::File::create(dir.join(format!("{program}.log")))?;
        let child = Command::new(assets.join(program))
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {program} of KUBEBUILDER_ASSETS"))?;
        self.children.push(child);
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// A process that cannot be ended.
    pub async fn stop(mut self) -> Result<()> {
        while let Some(mut child) = self.children.pop() {
            child.kill().await?;
        }
        Ok(())
    }
}

/// Token, user, uid, groups.
fn tokens() -> String {
    format!("{TOKEN},admin,1,system:masters\n{VIEWER_TOKEN},{VIEWER},,unbounded:viewers\n")
}

fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    // All are held until all are known, so that none comes twice.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
