//! The configuration file: wire form and checked form.
//!
//! Secrets may be given in place, since these are simulated BMCs, or as a file.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use uuid::Uuid;

use crate::profile::{EtagMode, Profile};

/// Everything one process simulates.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the admin plane listens (plain HTTP).
    pub admin: Option<SocketAddr>,
    pub bmcs: Vec<BmcConfig>,
}

/// One BMC.
#[derive(Debug, Clone)]
pub struct BmcConfig {
    pub name: String,
    pub listen: SocketAddr,
    pub user: String,
    pub password: String,
    pub system_id: String,
    pub profile: Profile,
    /// Keeps certificate, NVRAM and pid file. `None`: nothing survives the process.
    pub state_dir: Option<PathBuf>,
    pub backend: BackendConfig,
}

/// What is behind a BMC.
#[derive(Debug, Clone)]
pub enum BackendConfig {
    /// State alone; a transition of power takes this long.
    Memory { transition: Duration },
    /// A QEMU machine. Needs a state folder.
    Qemu(Box<QemuConfig>),
}

/// A QEMU machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QemuConfig {
    /// Tap device; without it a NIC gets user networking that leads nowhere.
    pub tap: Option<String>,
    /// MAC of the NIC; without it there is none.
    pub mac: Option<String>,
    pub disks: Vec<DiskConfig>,
    pub memory_mib: u32,
    pub cpus: u32,
    /// System UUID; derived from the name if absent.
    pub uuid: Option<Uuid>,
    /// Serial console, appended to.
    pub serial_log: PathBuf,
    pub firmware_code: PathBuf,
    /// Template of the NVRAM, copied once.
    pub firmware_vars: PathBuf,
    /// Emulated TPM 2.0 (needs swtpm).
    pub tpm: bool,
}

impl Default for QemuConfig {
    fn default() -> Self {
        Self {
            tap: None,
            mac: None,
            disks: Vec::new(),
            memory_mib: 1024,
            cpus: 1,
            uuid: None,
            serial_log: PathBuf::new(),
            firmware_code: "/usr/share/OVMF/OVMF_CODE_4M.fd".into(),
            firmware_vars: "/usr/share/OVMF/OVMF_VARS_4M.fd".into(),
            tpm: false,
        }
    }
}

/// A disk of a QEMU machine: raw, or qcow2 by its extension.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    pub path: PathBuf,
    pub serial: String,
    /// Created sparse with this size if the file is absent.
    pub size_mib: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireConfig {
    admin: Option<SocketAddr>,
    state_dir: Option<PathBuf>,
    #[serde(default)]
    bmc: Vec<WireBmc>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBmc {
    name: String,
    listen: SocketAddr,
    #[serde(default = "default_user")]
    user: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
    system_id: Option<String>,
    #[serde(default = "default_profile")]
    profile: String,
    etag: Option<EtagMode>,
    task_polls: Option<u32>,
    session_limit: Option<usize>,
    state_dir: Option<PathBuf>,
    memory: Option<WireMemory>,
    qemu: Option<QemuConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WireMemory {
    transition_ms: u64,
}

fn default_user() -> String {
    "admin".to_owned()
}

fn default_profile() -> String {
    "generic".to_owned()
}

impl Config {
    /// Reads a TOML file.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("configuration {}", file.display()))
    }

    /// Checks TOML text. Password files are read here.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let wire: WireConfig = toml::from_str(text)?;
        ensure!(!wire.bmc.is_empty(), "no [[bmc]]: at least one is needed");
        let mut names = BTreeSet::new();
        let mut bmcs = Vec::new();
        for bmc in wire.bmc {
            let name = bmc.name.clone();
            ensure!(names.insert(name.clone()), "two BMCs are called {name:?}");
            let checked = bmc.check(wire.state_dir.as_deref());
            bmcs.push(checked.with_context(|| format!("bmc {name:?}"))?);
        }
        Ok(Self {
            admin: wire.admin,
            bmcs,
        })
    }

    /// `count` memory BMCs on consecutive ports, for load.
    pub fn fleet(count: u16, first: SocketAddr, profile: &Profile) -> anyhow::Result<Self> {
        let mut bmcs = Vec::new();
        for number in 0..count {
            let mut listen = first;
            if first.port() != 0 {
                let port = first
                    .port()
                    .checked_add(number)
                    .context("ports beyond 65535")?;
                listen.set_port(port);
            }
            bmcs.push(BmcConfig {
                listen,
                profile: profile.clone(),
                system_id: profile.system_id.to_owned(),
                ..BmcConfig::memory(&format!("bmc-{number}"), "password")
            });
        }
        Ok(Self { admin: None, bmcs })
    }
}

impl BmcConfig {
    /// A generic BMC with a memory back-end on a free local port; user `admin`.
    pub fn memory(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            user: default_user(),
            password: password.to_owned(),
            system_id: "1".to_owned(),
            profile: Profile::default(),
            state_dir: None,
            backend: BackendConfig::Memory {
                transition: Duration::ZERO,
            },
        }
    }

    /// System UUID: the configured one, or one derived from the name.
    pub fn uuid(&self) -> Uuid {
        let configured = match &self.backend {
            BackendConfig::Qemu(qemu) => qemu.uuid,
            BackendConfig::Memory { .. } => None,
        };
        configured.unwrap_or_else(|| {
            // FNV-1a, twice: stable for a name, no claim beyond that.
            let hash = |seed: u128| {
                self.name.bytes().fold(seed, |hash, byte| {
                    (hash ^ u128::from(byte))
                        .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
                })
            };
            uuid::Builder::from_custom_bytes(
                hash(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d).to_be_bytes(),
            )
            .into_uuid()
        })
    }

    /// MAC of the NIC, if there is one.
    pub fn mac(&self) -> Option<String> {
        match &self.backend {
            BackendConfig::Qemu(qemu) => qemu.mac.clone(),
            BackendConfig::Memory { .. } => None,
        }
    }
}

/// Longest path of a unix socket, less the socket's own name.
const SOCKET_DIR_LIMIT: usize = 90;

impl WireBmc {
    fn check(self, state_dir: Option<&Path>) -> anyhow::Result<BmcConfig> {
        let mut profile = Profile::named(&self.profile).with_context(|| {
            format!(
                "profile {:?} is not one of {}",
                self.profile,
                Profile::NAMES.join(", ")
            )
        })?;
        profile.etag = self.etag.unwrap_or(profile.etag);
        profile.task_polls = self.task_polls.unwrap_or(profile.task_polls);
        profile.session_limit = self.session_limit.or(profile.session_limit);
        let password = match (self.password, self.password_file) {
            (Some(password), None) => password,
            (None, Some(file)) => std::fs::read_to_string(&file)
                .with_context(|| format!("read password_file {}", file.display()))?
                .trim_end_matches(['\r', '\n'])
                .to_owned(),
            (Some(_), Some(_)) | (None, None) => {
                bail!("give either password or password_file")
            }
        };
        let state_dir = self.state_dir.or_else(|| Some(state_dir?.join(&self.name)));
        let backend = match (self.memory, self.qemu) {
            (memory, None) => BackendConfig::Memory {
                transition: Duration::from_millis(memory.unwrap_or_default().transition_ms),
            },
            (None, Some(mut qemu)) => {
                let dir = state_dir.as_deref().context("qemu needs a state_dir")?;
                ensure!(
                    dir.as_os_str().len() <= SOCKET_DIR_LIMIT,
                    "state_dir is longer than {SOCKET_DIR_LIMIT} bytes, too long for a unix socket"
                );
                ensure!(
                    qemu.memory_mib >= 256 && qemu.cpus >= 1,
                    "memory_mib >= 256, cpus >= 1"
                );
                if qemu.serial_log.as_os_str().is_empty() {
                    qemu.serial_log = dir.join("serial.log");
                }
                BackendConfig::Qemu(Box::new(qemu))
            }
            (Some(_), Some(_)) => bail!("give either [bmc.memory] or [bmc.qemu]"),
        };
        Ok(BmcConfig {
            system_id: self
                .system_id
                .unwrap_or_else(|| profile.system_id.to_owned()),
            name: self.name,
            listen: self.listen,
            user: self.user,
            password,
            profile,
            state_dir,
            backend,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_configuration_is_read() {
        let config = Config::parse(
            r#"
            admin = "127.0.0.1:8099"
            state_dir = "/var/lib/bmcsim"
            [[bmc]]
            name = "node-1"
            listen = "10.77.1.1:443"
            password = "secret"
            etag = "weak"
            [bmc.qemu]
            tap = "tap1"
            mac = "52:54:00:77:00:11"
            disks = [{ path = "/d/1.raw", serial = "NODE1-D0", size_mib = 4096 }]
            [[bmc]]
            name = "node-2"
            listen = "10.77.1.2:443"
            password = "secret"
            profile = "dell"
            memory = { transition_ms = 50 }
            "#,
        )
        .unwrap();
        let first = &config.bmcs[0];
        assert_eq!(first.system_id, "1");
        assert_eq!(first.profile.etag, EtagMode::Weak);
        assert_eq!(first.mac().as_deref(), Some("52:54:00:77:00:11"));
        let BackendConfig::Qemu(qemu) = &first.backend else {
            panic!("not qemu")
        };
        assert_eq!(
            qemu.serial_log,
            Path::new("/var/lib/bmcsim/node-1/serial.log")
        );
        assert_eq!(config.bmcs[1].system_id, "System.Embedded.1");
        assert_ne!(first.uuid(), config.bmcs[1].uuid());
        assert_eq!(first.uuid(), first.clone().uuid());
    }

    #[test]
    fn mistakes_are_named() {
        let refuse = |text: &str| format!("{:#}", Config::parse(text).unwrap_err());
        let bmc = "[[bmc]]\nname='a'\nlisten='127.0.0.1:1'\n";
        assert!(refuse("").contains("[[bmc]]"));
        assert!(refuse(bmc).contains("password"));
        assert!(refuse(&format!("{bmc}password='x'\nprofile='y'")).contains("profile"));
        assert!(refuse(&format!("{bmc}password='x'\n{bmc}password='x'")).contains("two BMCs"));
        assert!(refuse(&format!("{bmc}password='x'\n[bmc.qemu]")).contains("state_dir"));
    }
}
