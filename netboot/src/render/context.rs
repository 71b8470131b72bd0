//! What templates see, typed.
//!
//! Built from a [`BootMachine`] by pure functions. Invariant: every field named here exists at
//! every rendering, so strict undefined only trips over names that are not in the documentation.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::directory::{Architecture, BootMachine, BootProtocol, Reservation};
use crate::mac::MacAddr;

/// Context of every boot file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootContext {
    /// The machine that asks.
    pub machine: MachineContext,
    /// Where it asks.
    pub server: ServerContext,
    /// Present only while it may install.
    pub install: Option<InstallContext>,
    /// Whatever the owner adds.
    pub extra: serde_json::Value,
}

/// The machine, as the reservation its request came from shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineContext {
    /// Name of the Machine object.
    pub name: String,
    /// Hardware address, lower case with colons.
    pub mac: MacAddr,
    /// Address of the reservation.
    pub ipv4: Ipv4Addr,
    /// Network mask of the reservation.
    pub subnet_mask: Ipv4Addr,
    /// The same as prefix length in bits.
    pub prefix: u32,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// `amd64` or `arm64`.
    pub architecture: Architecture,
    /// `PXE` or `HTTP`.
    pub protocol: BootProtocol,
}

/// This appliance, as machines reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerContext {
    /// Base URL without a slash at the end.
    pub http_url: String,
    /// Address for TFTP and, with `port`, for HTTP.
    pub address: Ipv4Addr,
    /// TCP port of plain HTTP.
    pub port: u16,
}

/// Leave to install.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallContext {
    /// One-shot token.
    pub token: String,
}

impl std::fmt::Debug for InstallContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstallContext")
            .field("token", &"…")
            .finish()
    }
}

impl MachineContext {
    /// The machine as seen through one of its reservations.
    pub fn new(machine: &BootMachine, reservation: &Reservation) -> Self {
        Self {
            name: machine.name.clone(),
            mac: reservation.mac,
            ipv4: reservation.ipv4,
            subnet_mask: reservation.subnet_mask,
            prefix: prefix(reservation.subnet_mask),
            gateway: reservation.gateway,
            dns: reservation.dns.clone(),
            architecture: machine.architecture,
            protocol: machine.protocol,
        }
    }
}

impl BootContext {
    /// Context for a request that came from `peer`; none when the machine has no such address.
    /// An install grant counts only while nobody has claimed it.
    pub fn new(machine: &BootMachine, peer: Ipv4Addr, server: &ServerContext) -> Option<Self> {
        let reservation = machine.leases.iter().find(|lease| lease.ipv4 == peer)?;
        let install = machine
            .install
            .as_ref()
            .filter(|grant| !grant.claimed)
            .map(|grant| InstallContext {
                token: grant.token.clone(),
            });
        Some(Self {
            machine: MachineContext::new(machine, reservation),
            server: server.clone(),
            install,
            extra: machine.context.value(),
        })
    }
}

/// Context of the cloud-init seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedContext {
    /// The machine, by its first reservation.
    pub machine: MachineContext,
    /// Its network interfaces, in the order of the reservations.
    pub interfaces: Vec<InterfaceContext>,
    /// Unique for each installation.
    pub instance_id: String,
    /// Host name without domain.
    pub hostname: String,
    /// Capability URL that takes boot reports.
    pub boot_report_url: String,
    /// Capability URL that takes cloud-init's reports.
    pub cloud_init_url: String,
    /// The user's document, passed through untouched.
    pub user_data: Option<String>,
    /// Whatever the owner adds.
    pub extra: serde_json::Value,
}

/// One network interface of the installed host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceContext {
    /// Name it gets on the host.
    pub name: String,
    /// Hardware address it is known by.
    pub mac: MacAddr,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// Default gateway; at most one interface has one.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Largest packet, when it is not Ethernet's 1500.
    #[serde(default)]
    pub mtu: Option<u16>,
}

/// What the owner gives besides the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedInputs {
    /// Unique for each installation: a new one makes cloud-init run again.
    pub instance_id: String,
    /// Capability URL that takes boot reports.
    pub boot_report_url: String,
    /// Capability URL that takes cloud-init's reports.
    pub cloud_init_url: String,
    /// The user's document, if the Machine refers to one.
    pub user_data: Option<String>,
}

impl SeedContext {
    /// Context for installing `machine`; none when it has no reservation.
    pub fn new(machine: &BootMachine, inputs: SeedInputs) -> Option<Self> {
        let first = machine.leases.first()?;
        let hostname = machine.name.split('.').next().unwrap_or(&machine.name);
        Some(Self {
            machine: MachineContext::new(machine, first),
            interfaces: interfaces(&machine.leases),
            instance_id: inputs.instance_id,
            hostname: hostname.to_owned(),
            boot_report_url: inputs.boot_report_url,
            cloud_init_url: inputs.cloud_init_url,
            user_data: inputs.user_data,
            extra: machine.context.value(),
        })
    }
}

/// Groups reservations by hardware address; only the first gateway becomes a default route.
fn interfaces(leases: &[Reservation]) -> Vec<InterfaceContext> {
    let mut order = Vec::new();
    let mut by_mac: BTreeMap<MacAddr, Vec<&Reservation>> = BTreeMap::new();
    for lease in leases {
        if !by_mac.contains_key(&lease.mac) {
            order.push(lease.mac);
        }
        by_mac.entry(lease.mac).or_default().push(lease);
    }
    let router = leases.iter().find(|lease| lease.gateway.is_some());
    order
        .into_iter()
        .enumerate()
        .map(|(index, mac)| {
            let of_nic = by_mac.remove(&mac).unwrap_or_default();
            let mut dns: Vec<Ipv4Addr> = Vec::new();
            for server in of_nic.iter().flat_map(|lease| &lease.dns) {
                if !dns.contains(server) {
                    dns.push(*server);
                }
            }
            InterfaceContext {
                name: format!("lan{index}"),
                mac,
                addresses: of_nic
                    .iter()
                    .map(|lease| format!("{}/{}", lease.ipv4, prefix(lease.subnet_mask)))
                    .collect(),
                gateway: router
                    .filter(|lease| lease.mac == mac)
                    .and_then(|lease| lease.gateway),
                dns,
                mtu: of_nic.iter().find_map(|lease| lease.mtu),
            }
        })
        .collect()
}

fn prefix(mask: Ipv4Addr) -> u32 {
    u32::from(mask).leading_ones()
}
