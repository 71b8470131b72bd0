//! What an installed host says through the appliance's API: that it is there, by the Lease of its name.
//!
//! The kubeconfig comes with an installation in standalone mode and opens nothing but what is this
//! host's own. With a cluster there is none, and Leases are the kubelet's. Invariant: what goes wrong
//! here never keeps a boot from being reported; only the CA of the kubeconfig is trusted.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use ureq::http::{StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Where an installation puts the kubeconfig.
pub const KUBECONFIG: &str = "/etc/unbounded/agent/kubeconfig";
/// After this without a renewal the host counts as gone: three heartbeats.
const LEASE_SECONDS: u32 = 180;
const TIMEOUT: Duration = Duration::from_secs(10);
const MANAGER: &str = "unbounded-agent";

/// The kubeconfigs that metalman writes: JSON, one cluster, one user.
#[derive(Debug, Deserialize)]
struct Kubeconfig {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
struct User {
    token: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User")
    }
}

/// A host that may use the API.
pub struct Presence {
    agent: ureq::Agent,
    server: String,
    token: String,
    machine: String,
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presence")
            .field("server", &self.server)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

/// The API was not told.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// Nothing came back.
    #[error("no answer from the API for {what}")]
    Unanswered {
        /// What was asked for.
        what: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// 401.
    #[error(
        "the API does not know this host's token: the Machine was deleted or installed anew; install \
         this host with a HostReplace"
    )]
    TokenEnded,
    /// Another code.
    #[error("the API answered {status} for {what}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Its code.
        status: StatusCode,
    },
}

impl Presence {
    /// For `machine`, by the kubeconfig at `path`; `None` where there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is not a kubeconfig of metalman; the text says what is wrong.
    pub fn open(path: &Path, machine: &str) -> anyhow::Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        Self::parse(&text, machine)
            .with_context(|| format!("use {}", path.display()))
            .map(Some)
    }

    fn parse(text: &[u8], machine: &str) -> anyhow::Result<Self> {
        let kubeconfig: Kubeconfig = serde_json::from_slice(text)?;
        let cluster = kubeconfig.clusters.into_iter().next();
        let Cluster {
            server,
            certificate_authority_data,
        } = cluster.context("clusters is empty")?.cluster;
        let user = kubeconfig.users.into_iter().next();
        let token = user.context("users is empty")?.user.token;
        ensure!(
            server.starts_with("https://"),
            "server must begin with https://"
        );
        let pem = base64::engine::general_purpose::STANDARD
            .decode(certificate_authority_data)
            .context("certificate-authority-data is no base64")?;
        let ca = Certificate::from_pem(&pem).context("certificate-authority-data is no PEM")?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(vec![ca])))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .user_agent(concat!("unbounded-agent/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.new_agent(),
            server: server.trim_end_matches('/').to_owned(),
            token,
            machine: machine.to_owned(),
        })
    }

    /// Reads the host's own Machine: whether the token opens what it should.
    ///
    /// # Errors
    /// The Machine was not shown.
    pub fn check(&self) -> Result<(), Untold> {
        let what = format!("Machine {}", self.machine);
        let path = format!(
            "{}/apis/unbounded-cloud.io/v1alpha3/machines/{}",
            self.server, self.machine
        );
        let request = self.agent.get(path);
        judge(
            what,
            request.header(header::AUTHORIZATION, self.bearer()).call(),
        )
    }

    /// Makes or renews the Lease of this host.
    ///
    /// # Errors
    /// The Lease is as old as before.
    pub fn renew(&self, now: Timestamp) -> Result<(), Untold> {
        let what = format!("Lease kube-node-lease/{}", self.machine);
        let path = format!(
            "{}/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}\
             ?fieldManager={MANAGER}&force=true",
            self.server, self.machine
        );
        let request = self.agent.patch(path);
        let request = request
            .header(header::AUTHORIZATION, self.bearer())
            .content_type("application/apply-patch+yaml");
        judge(what, request.send(lease(&self.machine, now).as_bytes()))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

fn lease(machine: &str, now: Timestamp) -> String {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": machine, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": machine, "leaseDurationSeconds": LEASE_SECONDS,
                 "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()}})
    .to_string()
}

fn judge(
    what: String,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<(), Untold> {
    match answer.map(|answer| answer.status()) {
        Ok(status) if status.is_success() => Ok(()),
        Ok(StatusCode::UNAUTHORIZED) => Err(Untold::TokenEnded),
        Ok(status) => Err(Untold::Refused { what, status }),
        Err(source) => Err(Untold::Unanswered {
            what,
            source: Box::new(source),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kubeconfig_is_no_fault_and_a_bad_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        assert!(Presence::open(&path, "node-1").unwrap().is_none());
        for (text, wrong) in [
            ("{", "EOF"),
            (r#"{"clusters": [], "users": []}"#, "clusters is empty"),
            (
                r#"{"clusters": [{"cluster": {"server": "http://a", "certificate-authority-data": ""}}],
                    "users": [{"user": {"token": "t"}}]}"#,
                "https://",
            ),
            (
                r#"{"clusters": [{"cluster": {"server": "https://a", "certificate-authority-data": "eA=="}}],
                    "users": [{"user": {"token": "t"}}]}"#,
                "no PEM",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", Presence::open(&path, "node-1").unwrap_err());
            assert!(
                error.contains(wrong) && error.contains("kubeconfig"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_lease_names_its_holder_and_the_time_to_the_microsecond() {
        let text = lease("node-1", Timestamp::UNIX_EPOCH);
        let lease: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(lease["spec"]["renewTime"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(lease["spec"]["holderIdentity"], "node-1");
    }
}
