//! The real `metalman` binary on the loopback, with its own state folder.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::wait;

/// A running (or stopped) appliance.
#[derive(Debug)]
pub struct Appliance {
    child: Option<Child>,
    dir: PathBuf,
    ports: Ports,
    database_url: Option<String>,
    /// The API server of another appliance, instead of one of its own.
    api: Option<PathBuf>,
    /// More arguments of `serve`.
    arguments: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    health: u16,
    api: u16,
    web: u16,
    dhcp: u16,
    tftp: u16,
}

/// A TCP port nobody listens on.
///
/// # Errors
/// When the loopback has none left.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test
        .parent()
        .and_then(Path::parent)
        .context("a target folder")?;
    let binary = folder.join("metalman");
    if !binary.exists() {
        bail!(
            "{} is missing: run `cargo build -p metalman` first",
            binary.display()
        );
    }
    Ok(binary)
}

impl Appliance {
    /// Starts an appliance of site `lab` that keeps its state in `dir`, and its store there too
    /// unless a database is named.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(dir: &Path, database_url: Option<String>) -> Result<Self> {
        Self::start_with(dir, database_url, Vec::new()).await
    }

    /// The same, with more arguments of `serve`.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start_with(
        dir: &Path,
        database_url: Option<String>,
        arguments: Vec<String>,
    ) -> Result<Self> {
        let mut appliance = Self::new(dir, database_url, None)?;
        appliance.arguments = arguments;
        appliance.restart().await?;
        Ok(appliance)
    }

    /// Starts one that works with the API server of this kubeconfig.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start_at(dir: &Path, kubeconfig: PathBuf) -> Result<Self> {
        let mut appliance = Self::new(dir, None, Some(kubeconfig))?;
        appliance.restart().await?;
        Ok(appliance)
    }

    /// One that is not started yet, with the API server of a kubeconfig or one of its own.
    ///
    /// # Errors
    /// When there are no free ports.
    pub fn new(dir: &Path, database_url: Option<String>, api: Option<PathBuf>) -> Result<Self> {
        // All at once, so that none is found twice.
        let mut held = Vec::new();
        let mut port = || -> Result<u16> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        let ports = Ports {
            http: port()?,
            health: port()?,
            api: port()?,
            web: port()?,
            dhcp: port()?,
            tftp: port()?,
        };
        Ok(Self {
            child: None,
            dir: dir.to_owned(),
            ports,
            database_url,
            api,
            arguments: Vec::new(),
        })
    }

    /// With more arguments of `serve`, from the next start on.
    #[must_use]
    pub fn with_arguments(mut self, arguments: Vec<String>) -> Self {
        self.arguments = arguments;
        self
    }

    /// Starts it again after [`Self::kill`], with the same state and ports.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.spawn()?;
        let ready = wait::until("the appliance to be ready", async || {
            self.is_ready().await.then_some(())
        });
        if let Err(error) = ready.await {
            bail!("{error}\n{}", self.log());
        }
        Ok(())
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let url = format!("http://127.0.0.1:{}/readyz", self.ports.health);
        let Ok(client) = reqwest::Client::builder().no_proxy().build() else {
            return false;
        };
        let answer = client.get(&url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn spawn(&mut self) -> Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("metalman.log"))?;
        let Ports {
            http,
            health,
            api,
            web,
            dhcp,
            tftp,
        } = self.ports;
        let child = Command::new(binary()?)
            .arg("serve")
            .args(match &self.api {
                None => vec!["--standalone".into()],
                Some(api) => vec![std::ffi::OsString::from("--kubeconfig"), api.into()],
            })
            .args(["--site", "lab", "--bind-address", "127.0.0.1"])
            .args(
                self.database_url
                    .iter()
                    .flat_map(|url| ["--database-url", url]),
            )
            .arg("--state-dir")
            .arg(self.dir.join("state"))
            .args(["--serve-url", &format!("http://127.0.0.1:{http}")])
            .args([
                "--http-port",
                &http.to_string(),
                "--health-port",
                &health.to_string(),
            ])
            .args([
                "--api-port",
                &api.to_string(),
                "--web-port",
                &web.to_string(),
            ])
            .args([
                "--dhcp-port",
                &dhcp.to_string(),
                "--tftp-port",
                &tftp.to_string(),
            ])
            .args([
                "--operation-poll-interval",
                "500ms",
                "--operation-shutdown-timeout",
                "4s",
                "--bmc-poll-interval",
                "2s",
                "--bmc-readings-interval",
                "3s",
                "--log-filter",
                "info,metalman=debug",
            ])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Runs a command of the program on its state folder and returns what it prints.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(binary()?)
            .args(arguments)
            .arg("--state-dir")
            .arg(self.dir.join("state"))
            .output()?;
        if !output.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Where its DHCP server listens.
    pub fn dhcp(&self) -> std::net::SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.dhcp).into()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("metalman.log")).unwrap_or_default()
    }

    /// Asks it to stop, as a service manager does, and waits until it has.
    ///
    /// # Errors
    /// When it does not stop in time, or says that it failed.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let waiting = tokio::task::spawn_blocking(move || child.wait());
        let status = tokio::time::timeout(wait::PATIENCE, waiting).await???;
        ensure!(status.success(), "ended with {status}: {}", self.log());
        Ok(())
    }

    /// Sends it SIGKILL and does not wait; [`Self::kill`] does.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn signal_kill(&self) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        let pid = rustix::process::Pid::from_child(child);
        Ok(rustix::process::kill_process(
            pid,
            rustix::process::Signal::KILL,
        )?)
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// A Kubernetes client with the kubeconfig it wrote.
    ///
    /// # Errors
    /// When there is none.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Path of its kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("state/kubeconfig")
    }

    /// Base URL of its boot HTTP server.
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// A path of its web pages, with the token of its administrator.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn page(&self, path: &str) -> Result<reqwest::Response> {
        let ca = std::fs::read(self.state().join("api/ca.crt"))?;
        let token = std::fs::read_to_string(self.state().join("admin.token"))?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
            .build()?;
        let request = client.get(format!("{}{path}", self.web()));
        Ok(request.bearer_auth(token.trim()).send().await?)
    }

    /// Base URL of its web pages.
    pub fn web(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.web)
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            note(&error);
        }
    }
}

/// Drop cannot fail; the note helps whoever reads the test's output.
fn note(error: &anyhow::Error) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "could not end the appliance: {error}").ok();
}
