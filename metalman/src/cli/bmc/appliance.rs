//! The running appliance, asked through its web port. It owns the one session of every BMC, so these
//! commands never talk to a BMC themselves.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use reqwest::{Certificate, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;

use crate::{
    cli::print,
    config::{Config, ConfigArgs, WireConfig},
};

/// Longest wait for an answer: a slow BMC is read in many requests.
const PATIENCE: Duration = Duration::from_mins(5);
/// Longest wait for a connection to the appliance.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest secret file that is read, in bytes.
const SECRET_LIMIT: u64 = 4096;

/// Where the appliance is, and how to prove who asks.
#[derive(Debug, Args)]
pub(super) struct ApplianceArgs {
    /// URL of the appliance's web page [default: its port on this machine]
    #[arg(long, value_name = "URL", env = "METALMAN_URL")]
    server: Option<Url>,
    /// File with the token [default: admin.token in the state folder]
    #[arg(long, value_name = "FILE", env = "METALMAN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Certificate of the authority the appliance's certificate comes from [default: ca.crt in the
    /// state folder]
    #[arg(long, value_name = "FILE", env = "METALMAN_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Configuration file of the appliance
    #[arg(long, value_name = "FILE", env = "METALMAN_CONFIG")]
    config: Option<PathBuf>,
    /// State folder of the appliance
    #[arg(long, value_name = "DIR", env = "METALMAN_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

impl Output {
    /// Prints an answer: as it came, or in words.
    pub(super) fn show<T: Serialize>(
        self,
        answer: &T,
        words: impl FnOnce(&T) -> String,
    ) -> Result<()> {
        match self {
            Self::Table => print(&words(answer)),
            Self::Json => {
                let text = serde_json::to_string_pretty(answer).context("write JSON")?;
                print(&format!("{text}\n"))
            }
        }
    }
}

/// A connection to the appliance.
#[derive(Debug)]
pub(super) struct Appliance {
    client: reqwest::Client,
    server: Url,
    token: SecretString,
}

/// An error of the appliance.
#[derive(Debug, Deserialize)]
struct Problem {
    reason: String,
    detail: String,
}

impl ApplianceArgs {
    /// Finds the appliance, the token and the authority; nothing is sent yet.
    pub(super) fn open(self) -> Result<Appliance> {
        let flags = WireConfig {
            state_dir: self.state_dir,
            ..WireConfig::default()
        };
        let file = self.config;
        let config = ConfigArgs { file, flags }.load()?;
        let token_file = self
            .token_file
            .unwrap_or_else(|| config.state_dir.join("admin.token"));
        let client = reqwest::Client::builder()
            .tls_certs_only(authorities(self.ca_file, &config)?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .build()
            .context("prepare to ask the appliance")?;
        Ok(Appliance {
            client,
            server: self.server.map_or_else(|| local(&config), Ok)?,
            token: read_secret(&token_file, "--token-file")?,
        })
    }
}

/// The port of an appliance that runs on this machine.
fn local(config: &Config) -> Result<Url> {
    let mut address = config.listen(config.web_port);
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST);
    }
    let url = format!("https://{address}");
    url.parse().with_context(|| format!("use {url}"))
}

/// The site CA: of the embedded API, or of the web page beside a cluster.
fn authorities(file: Option<PathBuf>, config: &Config) -> Result<Vec<Certificate>> {
    let files = file.map_or_else(
        || {
            let folders = ["api", "web"].map(|folder| config.state_dir.join(folder).join("ca.crt"));
            folders.into_iter().filter(|file| file.exists()).collect()
        },
        |file| vec![file],
    );
    let mut found = Vec::new();
    for file in files {
        let pem =
            std::fs::read(&file).with_context(|| format!("read {} (--ca-file)", file.display()))?;
        let parsed = Certificate::from_pem_bundle(&pem);
        found.extend(parsed.with_context(|| format!("use {} (--ca-file)", file.display()))?);
    }
    if found.is_empty() {
        bail!(
            "no certificate of the appliance's authority in {}; name it with --ca-file, or the state folder with --state-dir",
            config.state_dir.display()
        );
    }
    Ok(found)
}

/// Reads a token or password from a file, or from standard input for `-`.
pub(super) fn read_secret(file: &Path, option: &str) -> Result<SecretString> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin()
            .take(SECRET_LIMIT)
            .read_to_string(&mut text)
            .with_context(|| format!("read standard input ({option})"))?;
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(SECRET_LIMIT).read_to_string(&mut text))
            .with_context(|| format!("read {} ({option})", file.display()))?;
    }
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        bail!("{} is empty ({option})", file.display());
    }
    Ok(SecretString::from(secret))
}

impl Appliance {
    /// Reads what `path` below the machine's BMC says.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        machine: &str,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T> {
        let mut url = self.url(machine, path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(Method::GET, url, None::<&()>).await
    }

    /// Has something changed.
    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        machine: &str,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T> {
        let url = self.url(machine, path)?;
        self.send(Method::PUT, url, Some(body)).await
    }

    fn url(&self, machine: &str, path: &[&str]) -> Result<Url> {
        let mut url = self.server.clone();
        let Ok(mut segments) = url.path_segments_mut() else {
            bail!("{} cannot be asked (--server)", self.server);
        };
        segments
            .pop_if_empty()
            .extend(["api", "v1", "machines", machine, "bmc"])
            .extend(path);
        drop(segments);
        Ok(url)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let mut request = self
            .client
            .request(method, url)
            .bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let ask = || format!("ask the appliance at {}", self.server);
        let response = request.send().await.with_context(ask)?;
        let status = response.status();
        let body = response.bytes().await.with_context(ask)?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .with_context(|| format!("understand the appliance at {}", self.server));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => bail!("{} ({})", problem.detail, problem.reason),
            Err(_) => bail!("the appliance at {} answers {status}", self.server),
        }
    }
}
