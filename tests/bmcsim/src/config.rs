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

use crate::bmc::DriveFacts;
use crate::log;
use crate::profile::{EtagMode, Lockout, Profile};

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
    /// Calls and power events that are remembered.
    pub log_entries: usize,
    /// A memory machine is on when the simulator starts. QEMU machines are always off then.
    pub powered_on: bool,
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
    session_timeout_s: Option<u64>,
    lockout: Option<Lockout>,
    latency_ms: Option<u64>,
    state_dir: Option<PathBuf>,
    memory: Option<WireMemory>,
    qemu: Option<QemuConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WireMemory {
    transition_ms: u64,
    powered_on: bool,
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

    /// Memory BMCs in a row, for load.
    pub fn fleet(fleet: &Fleet) -> anyhow::Result<Self> {
        let mut bmcs = Vec::new();
        for number in 0..fleet.count {
            bmcs.push(BmcConfig {
                listen: fleet.address(number)?,
                user: fleet.user.clone(),
                profile: fleet.profile.clone(),
                system_id: fleet.profile.system_id.clone(),
                backend: BackendConfig::Memory {
                    transition: fleet.transition,
                },
                powered_on: fleet.powered_on,
                log_entries: (FLEET_LOG / usize::from(fleet.count)).clamp(50, log::LIMIT),
                ..BmcConfig::memory(&format!("bmc-{number}"), &fleet.password)
            });
        }
        Ok(Self { admin: None, bmcs })
    }
}

/// Log entries of all BMCs of a fleet together.
const FLEET_LOG: usize = 200_000;

/// Memory BMCs in a row: the first is at `first`, the others follow by port or by address.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub count: u16,
    pub first: SocketAddr,
    /// The address counts up, so every BMC has the same port; else the port does.
    pub by_address: bool,
    pub user: String,
    pub password: String,
    pub profile: Profile,
    /// How long turning on and off takes.
    pub transition: Duration,
    /// Whether the machines are on in the beginning.
    pub powered_on: bool,
}

impl Fleet {
    fn address(&self, number: u16) -> anyhow::Result<SocketAddr> {
        let mut address = self.first;
        if self.by_address {
            let IpAddr::V4(first) = self.first.ip() else {
                bail!("addresses count up from an IPv4 address only")
            };
            let next = u32::from(first)
                .checked_add(u32::from(number))
                .context("addresses beyond the last one")?;
            address.set_ip(IpAddr::V4(Ipv4Addr::from(next)));
        } else if address.port() != 0 {
            let port = address.port().checked_add(number);
            address.set_port(port.context("ports beyond 65535")?);
        }
        Ok(address)
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
            log_entries: log::LIMIT,
            powered_on: false,
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

    /// MACs of the machine's NICs: the configured one, or made up ones.
    pub fn macs(&self) -> Vec<String> {
        match &self.backend {
            BackendConfig::Qemu(qemu) => qemu.mac.iter().cloned().collect(),
            BackendConfig::Memory { .. } => (1..=self.profile.nics)
                .map(|number| self.derived_mac(number))
                .collect(),
        }
    }

    /// A locally administered MAC that depends on the name.
    pub(crate) fn derived_mac(&self, number: usize) -> String {
        let uuid = self.uuid();
        let [.., a, b, c, d] = uuid.as_bytes();
        format!("02:{a:02X}:{b:02X}:{c:02X}:{d:02X}:{:02X}", number & 0xff)
    }

    /// The machine's drives: the configured ones, or made up ones.
    pub(crate) fn drives(&self) -> Vec<DriveFacts> {
        match &self.backend {
            BackendConfig::Qemu(qemu) => qemu.disks.iter().map(DiskConfig::facts).collect(),
            BackendConfig::Memory { .. } => (1..=self.profile.drives)
                .map(|number| DriveFacts {
                    serial: format!("{}-D{number}", self.name),
                    bytes: 960_197_124_096,
                })
                .collect(),
        }
    }
}

impl DiskConfig {
    fn facts(&self) -> DriveFacts {
        let existing = std::fs::metadata(&self.path).map(|file| file.len());
        let wanted = self.size_mib.unwrap_or(0).saturating_mul(1024 * 1024);
        DriveFacts {
            serial: self.serial.clone(),
            bytes: existing.unwrap_or(wanted),
        }
    }
}

/// Longest path of a unix socket, less the socket's own name.
const SOCKET_DIR_LIMIT: usize = 90;

impl WireBmc {
    fn check(self, state_dir: Option<&Path>) -> anyhow::Result<BmcConfig> {
        let mut profile = Profile::find(&self.profile)?;
        profile.etag = self.etag.unwrap_or(profile.etag);
        profile.task_polls = self.task_polls.unwrap_or(profile.task_polls);
        profile.session_limit = self.session_limit.or(profile.session_limit);
        profile.session_timeout_s = self.session_timeout_s.unwrap_or(profile.session_timeout_s);
        profile.lockout = self.lockout.or(profile.lockout);
        profile.latency_ms = self.latency_ms.unwrap_or(profile.latency_ms);
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
        let powered_on = self.memory.as_ref().is_some_and(|memory| memory.powered_on);
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
            system_id: self.system_id.unwrap_or_else(|| profile.system_id.clone()),
            name: self.name,
            listen: self.listen,
            user: self.user,
            password,
            profile,
            state_dir,
            backend,
            log_entries: log::LIMIT,
            powered_on,
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
        assert_eq!(first.macs(), ["52:54:00:77:00:11"]);
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
        assert_eq!(config.bmcs[1].macs().len(), 2);
    }

    #[test]
    fn fleet_counts_up_ports_or_addresses() {
        let mut fleet = Fleet {
            count: 300,
            first: "127.1.0.0:8443".parse().unwrap(),
            by_address: true,
            user: "admin".into(),
            password: "x".into(),
            profile: Profile::default(),
            transition: Duration::ZERO,
            powered_on: false,
        };
        let last = |fleet: &Fleet| Config::fleet(fleet).unwrap().bmcs[299].listen.to_string();
        assert_eq!(last(&fleet), "127.1.1.43:8443");
        fleet.by_address = false;
        assert_eq!(last(&fleet), "127.1.0.0:8742");
        fleet.first.set_port(65_500);
        assert!(Config::fleet(&fleet).is_err());
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
