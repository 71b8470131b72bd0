//! A UEFI machine run by `qemu-system-x86_64`: one process per boot.
//!
//! It emulates the processor (TCG) and asks for no virtualisation. QEMU runs with `-no-reboot`, so a
//! guest reset ends the process; whoever owns the back-end launches it again, and thereby decides
//! anew what boots. NVRAM and disks live on in the state folder.

mod command;
mod qmp;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::{Backend, GuestEvent};
use crate::boot::BootChoice;
use crate::config::QemuConfig;
use command::Files;
use qmp::Qmp;

const PROGRAM: &str = "qemu-system-x86_64";
const START_TIMEOUT: Duration = Duration::from_secs(20);
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// The QEMU back-end of one machine.
#[derive(Debug)]
pub struct Qemu {
    name: String,
    uuid: Uuid,
    config: QemuConfig,
    files: Files,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    qemu: Child,
    tpm: Option<Child>,
    qmp: Qmp,
}

impl Qemu {
    /// A machine that is off. `dir` keeps its NVRAM, sockets and pid file.
    pub fn new(name: &str, uuid: Uuid, config: QemuConfig, dir: &Path) -> Self {
        let files = Files::new(dir);
        Self {
            name: name.to_owned(),
            uuid,
            config,
            files,
            running: None,
        }
    }

    fn prepare_files(&self) -> anyhow::Result<()> {
        if !self.files.vars.exists() {
            fs::copy(&self.config.firmware_vars, &self.files.vars).with_context(|| {
                format!(
                    "copy firmware variables {}",
                    self.config.firmware_vars.display()
                )
            })?;
        }
        for disk in &self.config.disks {
            let Some(size_mib) = disk.size_mib.filter(|_| !disk.path.exists()) else {
                continue;
            };
            fs::File::create(&disk.path)
                .and_then(|file| file.set_len(size_mib.saturating_mul(1024 * 1024)))
                .with_context(|| format!("create disk {}", disk.path.display()))?;
        }
        remove(&self.files.qmp)
    }

    async fn start_tpm(&self) -> anyhow::Result<Option<Child>> {
        if !self.config.tpm {
            return Ok(None);
        }
        fs::create_dir_all(&self.files.tpm_dir).context("create TPM folder")?;
        remove(&self.files.tpm_socket)?;
        let mut child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--terminate", "--tpmstate"])
            .arg(format!("dir={}", self.files.tpm_dir.display()))
            .arg("--ctrl")
            .arg(format!(
                "type=unixio,path={}",
                self.files.tpm_socket.display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start swtpm")?;
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.files.tpm_socket.exists() {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("swtpm did not start");
            }
            sleep(POLL).await;
        }
        Ok(Some(child))
    }

    fn start_qemu(&self, boot: BootChoice) -> anyhow::Result<Child> {
        let stderr = fs::File::create(&self.files.stderr).context("create QEMU's error log")?;
        let arguments = command::arguments(&self.name, self.uuid, &self.config, &self.files, boot);
        debug!(machine = self.name, ?arguments, "starting QEMU");
        let child = Command::new(PROGRAM)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {PROGRAM}"))?;
        if let Some(pid) = child.id() {
            fs::write(&self.files.pid, format!("{pid}\n")).context("write pid file")?;
        }
        Ok(child)
    }

    /// Waits for QMP; an early end of QEMU is reported in its own words.
    async fn connect(&self, qemu: &mut Child) -> anyhow::Result<Qmp> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = qemu.try_wait()? {
                let said = fs::read_to_string(&self.files.stderr).unwrap_or_default();
                bail!("QEMU ended with {status}: {}", said.trim());
            }
            if self.files.qmp.exists()
                && let Ok(qmp) = Qmp::connect(&self.files.qmp).await
            {
                return Ok(qmp);
            }
            if Instant::now() > deadline {
                bail!("QEMU opened no QMP socket");
            }
            sleep(POLL).await;
        }
    }

    /// Ends a process of an earlier run, if the pid file names one that is really ours.
    async fn end_leftover(&self) -> anyhow::Result<()> {
        let Ok(text) = fs::read_to_string(&self.files.pid) else {
            return Ok(());
        };
        let Ok(pid) = text.trim().parse::<i32>() else {
            return remove(&self.files.pid);
        };
        let deadline = Instant::now() + QUIT_TIMEOUT;
        let mut signal = Signal::SIGTERM;
        while self.is_ours(pid) {
            info!(
                machine = self.name,
                pid,
                signal = signal.as_str(),
                "ending a leftover machine"
            );
            kill(Pid::from_raw(pid), signal).ok();
            if Instant::now() > deadline + QUIT_TIMEOUT {
                bail!("leftover QEMU {pid} does not end");
            }
            if Instant::now() > deadline {
                signal = Signal::SIGKILL;
            }
            sleep(POLL * 10).await;
        }
        remove(&self.files.pid)
    }

    fn is_ours(&self, pid: i32) -> bool {
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
            return false;
        };
        let socket = self.files.qmp.display().to_string();
        String::from_utf8_lossy(&line).contains(&format!("unix:{socket},"))
    }

    async fn reap(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.qmp.send("quit").await.ok();
        if timeout(QUIT_TIMEOUT, running.qemu.wait()).await.is_err() {
            warn!(machine = self.name, "QEMU does not quit, killing it");
            running.qemu.kill().await.ok();
        }
        if let Some(mut tpm) = running.tpm
            && timeout(QUIT_TIMEOUT, tpm.wait()).await.is_err()
        {
            tpm.kill().await.ok();
        }
        remove(&self.files.pid).ok();
    }
}

#[async_trait]
impl Backend for Qemu {
    async fn prepare(&mut self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.files.dir)
            .with_context(|| format!("create {}", self.files.dir.display()))?;
        self.end_leftover().await
    }

    async fn launch(&mut self, boot: BootChoice) -> anyhow::Result<()> {
        self.reap().await;
        self.prepare_files()?;
        let tpm = self.start_tpm().await?;
        let mut qemu = self.start_qemu(boot)?;
        let mut qmp = self.connect(&mut qemu).await?;
        qmp.execute("cont").await?;
        self.running = Some(Running { qemu, tpm, qmp });
        Ok(())
    }

    async fn kill(&mut self) {
        self.reap().await;
    }

    async fn press_power(&mut self) {
        if let Some(running) = &mut self.running
            && let Err(error) = running.qmp.send("system_powerdown").await
        {
            warn!(
                machine = self.name,
                error = format!("{error:#}"),
                "power button not pressed"
            );
        }
    }

    async fn next_event(&mut self) -> GuestEvent {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let event = running.qmp.closed().await;
        let status = running.qemu.wait().await;
        self.reap().await;
        event.unwrap_or_else(|| match status {
            Ok(status) => GuestEvent::Died(format!("QEMU ended with {status}")),
            Err(error) => GuestEvent::Died(format!("QEMU is lost: {error}")),
        })
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}
