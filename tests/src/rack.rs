//! A rack of one: an appliance, a simulated BMC, two small images and the objects for them.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bmcsim::{Bmc, BmcConfig, Config, PowerKind, Running};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use metalman_api::{
    machine::Machine,
    operation::{MachineOperation, Phase, Stage, TargetStatus},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{appliance::Appliance, host::Host, image, wait};

/// Raw content of the machine image.
pub const DISK: &[u8] = b"an operating system, as far as this test cares";
const PASSWORD: &str = "correct horse";
const MAC: &str = "52:54:00:77:00:11";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// What every boot image has.
const BOOT_FILES: [(&str, &[u8]); 4] = [
    (
        "disk/metadata.yaml",
        b"dhcpBootImageName: shimx64.efi\nhttpBootPath: shimx64.efi\n",
    ),
    ("disk/shimx64.efi", b"shim"),
    ("disk/vmlinuz", b"kernel"),
    ("disk/initrd", b"ramdisk"),
];

/// A rack of one machine named `node-1`.
#[derive(Debug)]
pub struct Rack {
    /// The appliance.
    pub appliance: Appliance,
    /// Its Kubernetes API.
    pub client: ClientDebug,
    /// The BMC behind `node-1`.
    pub bmc: Arc<Bmc>,
    bmc_url: String,
    _simulator: Running,
    dir: TempDir,
}

/// A client that can be printed.
#[derive(Clone)]
pub struct ClientDebug(pub Client);

impl std::fmt::Debug for ClientDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Rack {
    /// Starts everything on SQLite and applies Secret and Machine.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start() -> Result<Self> {
        Self::start_on(None).await
    }

    /// The same, with the store where the URL says.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start_on(database_url: Option<String>) -> Result<Self> {
        Self::start_with(database_url, Vec::new()).await
    }

    /// The same, with more arguments of `metalman serve`.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start_with(database_url: Option<String>, arguments: Vec<String>) -> Result<Self> {
        crate::install_crypto_provider();
        let dir = TempDir::new()?;
        let appliance = Appliance::start_with(dir.path(), database_url, arguments).await?;
        let client = appliance.client().await?;
        Self::around(dir, appliance, client).await
    }

    /// The same with an API server that runs already: the appliance reaches it by its kubeconfig, the
    /// test by `client`.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start_at(
        kubeconfig: PathBuf,
        client: Client,
        arguments: Vec<String>,
    ) -> Result<Self> {
        crate::install_crypto_provider();
        let dir = TempDir::new()?;
        let appliance = Appliance::new(dir.path(), None, Some(kubeconfig))?;
        let mut appliance = appliance.with_arguments(arguments);
        appliance.restart().await?;
        Self::around(dir, appliance, client).await
    }

    async fn around(dir: TempDir, appliance: Appliance, client: Client) -> Result<Self> {
        image::write_layout(&dir.path().join("netboot"), &BOOT_FILES)?;
        image::write_layout(&dir.path().join("host"), &[("disk/disk.img", DISK)])?;
        let mut bmc = BmcConfig::memory("node-1", PASSWORD);
        bmc.backend = bmcsim::BackendConfig::Memory {
            transition: Duration::from_millis(100),
        };
        let simulator = bmcsim::start(Config {
            admin: None,
            bmcs: vec![bmc],
        })
        .await?;
        let (address, bmc) = simulator.bmcs().first().cloned().context("one BMC")?;
        let rack = Self {
            appliance,
            client: ClientDebug(client),
            bmc,
            bmc_url: format!("https://{address}"),
            _simulator: simulator,
            dir,
        };
        rack.set_password(PASSWORD).await?;
        rack.apply_machine("node-1", json!({})).await?;
        Ok(rack)
    }

    /// Writes the BMC password Secret.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn set_password(&self, password: &str) -> Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.0.clone(), "unbounded-system");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "bmc", "namespace": "unbounded-system" },
            "stringData": { "password": password },
        });
        match api.get_opt("bmc").await? {
            None => {
                api.create(&PostParams::default(), &serde_json::from_value(secret)?)
                    .await?;
            }
            Some(_) => {
                api.patch("bmc", &PatchParams::default(), &Patch::Merge(secret))
                    .await?;
            }
        }
        Ok(())
    }

    /// The spec.pxe of `node-1`.
    pub fn pxe(&self) -> Value {
        let layout = |name: &str| format!("oci-layout:{}", self.dir.path().join(name).display());
        json!({
            "image": layout("host"),
            "netbootImage": layout("netboot"),
            "dhcpLeases": [{ "mac": MAC, "ipv4": ADDRESS, "subnetMask": "255.0.0.0" }],
            "redfish": {
                "url": self.bmc_url, "username": "admin", "deviceID": "1",
                "passwordRef": { "name": "bmc" },
            },
        })
    }

    /// The OCI layout of its `netboot` or `host` image.
    pub fn layout(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a pull secret for one registry.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn apply_pull_secret(
        &self,
        name: &str,
        registry: &str,
        (username, password): (&str, &str),
    ) -> Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.0.clone(), "unbounded-system");
        let login = json!({ "username": username, "password": password });
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": { "name": name, "namespace": "unbounded-system" },
            "stringData": { ".dockerconfigjson": json!({ "auths": { registry: login } }).to_string() },
        });
        api.create(&PostParams::default(), &serde_json::from_value(secret)?)
            .await?;
        Ok(())
    }

    /// Writes one more boot image, with these files besides the usual ones; returns its reference.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn boot_image(&self, name: &str, files: &[(&str, &[u8])]) -> Result<String> {
        let dir = self.dir.path().join(name);
        image::write_layout(&dir, &[&BOOT_FILES, files].concat())?;
        Ok(format!("oci-layout:{}", dir.display()))
    }

    /// Waits until a condition of a Machine has this status.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn condition(&self, machine: &str, kind: &str, status: &str) -> Result<Condition> {
        let what = format!("{machine} to have {kind}={status}");
        let found = wait::until(&what, async || {
            let conditions = self.machine(machine).await.ok()?.status?.conditions;
            conditions
                .into_iter()
                .find(|c| c.type_ == kind && c.status == status)
        });
        found.await.with_context(|| self.appliance.log())
    }

    /// Creates a Machine, or changes it, with these changes to the usual spec.pxe.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn apply_machine(&self, name: &str, changes: Value) -> Result<Machine> {
        let api: Api<Machine> = Api::all(self.client.0.clone());
        let mut pxe = self.pxe();
        merge(&mut pxe, changes);
        let machine = json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": { "name": name, "labels": { "unbounded-cloud.io/site": "lab" } },
            "spec": { "pxe": pxe },
        });
        Ok(match api.get_opt(name).await? {
            None => {
                api.create(&PostParams::default(), &serde_json::from_value(machine)?)
                    .await?
            }
            Some(_) => {
                api.patch(name, &PatchParams::default(), &Patch::Merge(machine))
                    .await?
            }
        })
    }

    /// Creates a Machine from YAML.
    ///
    /// # Errors
    /// When it is none, or the API refuses it.
    pub async fn apply(&self, text: &str) -> Result<Machine> {
        let api: Api<Machine> = Api::all(self.client.0.clone());
        let machine = yaml::from_str(text)?;
        Ok(api.create(&PostParams::default(), &machine).await?)
    }

    /// Creates an operation on a machine.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn operate(&self, name: &str, kind: &str, machine: &str) -> Result<()> {
        let api: Api<MachineOperation> = Api::all(self.client.0.clone());
        let operation = json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation",
            "metadata": { "name": name },
            "spec": { "machineRef": machine, "operationKind": kind },
        });
        api.create(&PostParams::default(), &serde_json::from_value(operation)?)
            .await?;
        Ok(())
    }

    /// An operation as the API shows it.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn operation(&self, name: &str) -> Result<MachineOperation> {
        Ok(Api::<MachineOperation>::all(self.client.0.clone())
            .get(name)
            .await?)
    }

    /// A machine as the API shows it.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn machine(&self, name: &str) -> Result<Machine> {
        Ok(Api::<Machine>::all(self.client.0.clone()).get(name).await?)
    }

    /// Waits until the only target is in this stage.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn reaches(&self, name: &str, stage: Stage) -> Result<TargetStatus> {
        let what = format!("{name} to reach {stage:?}");
        let reached = wait::until(&what, async || {
            let target = self
                .operation(name)
                .await
                .ok()?
                .status?
                .targets
                .into_iter()
                .next()?;
            (target.stage == Some(stage)).then_some(target)
        });
        self.explain(name, reached.await).await
    }

    /// Waits until an operation has ended in this phase.
    ///
    /// # Errors
    /// When that does not happen, with what it shows instead.
    pub async fn ends(&self, name: &str, phase: Phase) -> Result<MachineOperation> {
        let what = format!("{name} to end as {phase:?}");
        let ended = wait::until(&what, async || {
            let operation = self.operation(name).await.ok()?;
            let shown = operation.status.as_ref()?.phase?;
            shown.is_terminal().then_some(operation)
        });
        let operation = self.explain(name, ended.await).await?;
        let shown = operation.status.as_ref().and_then(|status| status.phase);
        anyhow::ensure!(
            shown == Some(phase),
            "{name} ended as {shown:?}: {:?}",
            operation.status
        );
        Ok(operation)
    }

    async fn explain<T>(&self, name: &str, outcome: Result<T>) -> Result<T> {
        let Err(error) = outcome else { return outcome };
        let shown = self
            .operation(name)
            .await
            .ok()
            .and_then(|operation| operation.status);
        Err(error.context(format!("{shown:#?}\n{}", self.appliance.log())))
    }

    /// The host behind `node-1`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn host(&self) -> Result<Host> {
        Host::new(&self.appliance.http(), ADDRESS, MAC)
    }

    /// How often the power of `node-1` went on and off.
    pub fn power_changes(&self) -> (usize, usize) {
        let log = self.bmc.log();
        let count = |kind: PowerKind| log.power.iter().filter(|e| e.kind == kind).count();
        (count(PowerKind::On), count(PowerKind::Off))
    }
}

/// JSON merge patch (RFC 7396) for the objects of tests.
fn merge(target: &mut Value, changes: Value) {
    let (Value::Object(fields), true) = (changes.clone(), target.is_object()) else {
        *target = changes;
        return;
    };
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (key, value) in fields {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}
