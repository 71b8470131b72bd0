//! `Machine`: one piece of hardware and what should run on it.
#![expect(
    unreachable_pub,
    reason = "the derive of KubeSchema writes a private twin of each struct"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::disk::DiskRule;

mod refs;
mod status;

pub use refs::{
    ConfigurationRef, NameRef, PasswordRef, ProviderRef, SecretRef, SshKeyRef, UserDataRef,
};
pub use status::{
    AgentStatus, BootStatus, ConfigurationStatus, InstalledImage, MachinePhase, MachineStatus,
    RedfishStatus, SshStatus, TpmStatus,
};

/// Namespace of Secrets and ConfigMaps whose reference names none.
pub const SYSTEM_NAMESPACE: &str = "unbounded-system";
/// Label that gives a Machine to one appliance.
pub const SITE_LABEL: &str = "unbounded-cloud.io/site";
/// Label on a Node that points back at its Machine.
pub const MACHINE_LABEL: &str = "unbounded-cloud.io/machine";

/// One physical machine: how to reach its BMC, how to boot it, what to install.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "unbounded-cloud.io",
    version = "v1alpha3",
    kind = "Machine",
    plural = "machines",
    singular = "machine",
    shortname = "mach",
    status = "MachineStatus",
    derive = "PartialEq",
    derive = "Default",
    selectable = ".status.phase",
    printcolumn = r#"{"name":"SITE","type":"string","jsonPath":".metadata.labels.unbounded-cloud\\.io/site"}"#,
    printcolumn = r#"{"name":"PHASE","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"POWER","type":"string","jsonPath":".status.redfish.powerState"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"MAC","type":"string","priority":1,"jsonPath":".spec.pxe.dhcpLeases[0].mac"}"#,
    printcolumn = r#"{"name":"IP","type":"string","priority":1,"jsonPath":".spec.pxe.dhcpLeases[0].ipv4"}"#,
    printcolumn = r#"{"name":"BMC","type":"string","priority":1,"jsonPath":".spec.pxe.redfish.url"}"#,
    printcolumn = r#"{"name":"IMAGE","type":"string","priority":1,"jsonPath":".status.image.digest"}"#,
    printcolumn = r#"{"name":"HOST","type":"string","priority":1,"jsonPath":".spec.ssh.host"}"#,
    printcolumn = r#"{"name":"VERSION","type":"string","priority":1,"jsonPath":".spec.kubernetes.version"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.message"}"#
)]
#[x_kube(
    validation = ("!has(oldSelf.providerRef) || (has(self.providerRef) && self.providerRef == oldSelf.providerRef)", "providerRef is immutable once set")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// Reach the machine over SSH (not used for netboot).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshSpec>,
    /// Boot, install and power settings of a bare-metal machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pxe: Option<PxeSpec>,
    /// How the machine joins Kubernetes; absent means it is not meant to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesSpec>,
    /// What the host agent runs and from where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentSpec>,
    /// Counters of the older interface: ahead of their status they create an operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<OperationCounters>,
    /// Cloud provider that owns the host; with one set, the appliance leaves the machine alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub provider: Option<String>,
    /// Identity of the host at its provider.
    #[serde(
        default,
        rename = "providerID",
        skip_serializing_if = "Option::is_none"
    )]
    pub provider_id: Option<String>,
    /// Provider object that owns the host; immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<ProviderRef>,
    /// Configuration the node is built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_ref: Option<ConfigurationRef>,
}

/// SSH access of a machine that is not netbooted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SshSpec {
    /// `host` or `host:port`; port 22 when omitted.
    pub host: String,
    /// Login name.
    #[serde(default = "azureuser")]
    pub username: String,
    /// Secret with the private key.
    pub private_key_ref: SshKeyRef,
    /// Jump host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bastion: Option<BastionSpec>,
}

fn azureuser() -> String {
    "azureuser".into()
}

/// Jump host for SSH.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BastionSpec {
    /// `host` or `host:port`.
    pub host: String,
    /// Login name.
    #[serde(default = "azureuser")]
    pub username: String,
    /// Key, if not that of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key_ref: Option<SshKeyRef>,
}

/// Processor architecture of a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    #[default]
    Amd64,
    /// AArch64.
    Arm64,
}

/// How the firmware gets its first boot file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum BootProtocol {
    /// DHCP and TFTP.
    #[default]
    Pxe,
    /// UEFI HTTP boot.
    Http,
}

/// Boot, install and power settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PxeSpec {
    /// OCI image with the disk image under `/disk/`: a registry reference or `oci-layout:/dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub image: Option<String>,
    /// Registry Secret for `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<SecretRef>,
    /// OCI image with the boot environment; the appliance's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub netboot_image: Option<String>,
    /// Registry Secret for `netbootImage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netboot_pull_secret_ref: Option<SecretRef>,
    /// Processor architecture.
    #[serde(default)]
    pub architecture: Architecture,
    /// PXE or UEFI HTTP boot.
    #[serde(default)]
    pub boot_protocol: BootProtocol,
    /// Device path of the disk to install to, such as `/dev/disk/by-id/…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/dev/[^ ]+$"))]
    pub target_disk: Option<String>,
    /// Rule that chooses the disk to install to, by identity or size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskRule>,
    /// Addresses of the machine's network interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub dhcp_leases: Vec<DhcpLease>,
    /// BMC access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish: Option<RedfishSpec>,
    /// User data of cloud-init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInitSpec>,
}

impl PxeSpec {
    /// The disk rule with `targetDisk` folded in; `targetDisk` wins over `disk.path`.
    pub fn disk_rule(&self) -> DiskRule {
        let mut rule = self.disk.clone().unwrap_or_default();
        if let Some(path) = &self.target_disk {
            rule.path = Some(path.clone());
        }
        rule
    }
}

/// Address reservation of one network interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DhcpLease {
    /// Address, such as `10.0.0.11`.
    #[x_kube(validation = (r"self.matches('^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$')", "must be an IPv4 address such as 10.0.0.11"))]
    #[schemars(length(max = 32))]
    pub ipv4: String,
    /// MAC address, six bytes with colons, such as `52:54:00:12:34:56`.
    #[x_kube(validation = ("self.matches('^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$')", "must be a MAC address such as 52:54:00:12:34:56"))]
    #[schemars(length(max = 32))]
    pub mac: String,
    /// Subnet mask, such as `255.255.255.0`.
    #[x_kube(validation = (r"self.matches('^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$')", "must be an IPv4 subnet mask such as 255.255.255.0"))]
    #[schemars(length(max = 32))]
    pub subnet_mask: String,
    /// Default gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"self == '' || self.matches('^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$')", "must be an IPv4 address such as 10.0.0.1"))]
    #[schemars(length(max = 32))]
    pub gateway: Option<String>,
    /// Name servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Largest packet of this network in bytes, when it is not Ethernet's 1500, such as 9000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 9216))]
    pub mtu: Option<i32>,
}

/// How to reach a BMC.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedfishSpec {
    /// Base URL, such as `https://10.0.1.11`.
    #[schemars(regex(pattern = "^https?://[^ ]+$"))]
    pub url: String,
    /// Account name.
    pub username: String,
    /// Id of the `ComputerSystem`; discovered when absent.
    #[serde(default, rename = "deviceID", skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Secret with the password.
    pub password_ref: PasswordRef,
    /// How the BMC's certificate is judged. By default the first one seen is pinned, and another one
    /// is refused until `metalman bmc repin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BmcTls>,
}

/// How a BMC's certificate is judged; at most one of `fingerprint`, `caBundle` and
/// `insecureSkipVerify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.fingerprint), has(self.caBundle), has(self.insecureSkipVerify) && self.insecureSkipVerify].filter(x, x).size() <= 1", "set at most one of fingerprint, caBundle and insecureSkipVerify"))]
#[x_kube(validation = ("!has(self.serverName) || has(self.caBundle)", "serverName needs caBundle"))]
pub struct BmcTls {
    /// Only the certificate with this SHA-256 fingerprint: 64 hexadecimal digits, colons allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 103))]
    pub fingerprint: Option<String>,
    /// Only certificates that these authorities issued for the BMC's address, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
    /// With `caBundle`: the name the certificate is issued to, where it is not the host of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub server_name: Option<String>,
    /// Any certificate: whoever answers at the address gets the password. For a BMC that changes its
    /// certificate by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}

/// User data of cloud-init.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudInitSpec {
    /// ConfigMap with the user data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_config_map_ref: Option<UserDataRef>,
}

/// How a machine joins Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesSpec {
    /// Version; the cluster's when absent. A leading `v` is optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Name of the Node, if not that of the Machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_ref: Option<NameRef>,
    /// Labels the Node registers with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_labels: BTreeMap<String, String>,
    /// Taints the Node registers with, `key=value:Effect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub register_with_taints: Vec<String>,
    /// Bootstrap token Secret in `kube-system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_token_ref: Option<NameRef>,
}

/// What the host agent runs and where it gets it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    /// OCI image with the root file system of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Agent version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where versions are downloaded from.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Archive to download; wins over `version` and `baseURL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Other sources for parts of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downloads: Option<Downloads>,
}

/// Sources of the parts of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Downloads {
    /// kubelet and kubectl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Download>,
    /// containerd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containerd: Option<Download>,
    /// runc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runc: Option<Download>,
    /// CNI plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<Download>,
    /// crictl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crictl: Option<Download>,
}

/// Source of one part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Download {
    /// Where versions are downloaded from.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Complete URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Counters that ask for an operation when they are raised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationCounters {
    /// Raise by one to restart the host.
    #[serde(default)]
    pub reboot_counter: i64,
    /// Raise by one to repave the host.
    #[serde(default)]
    pub repave_counter: i64,
}
