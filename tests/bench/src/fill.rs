//! Makes Machine objects through the embedded Kubernetes API, as an administrator would.
//!
//! Invariant: machine `i` has the hardware address of DHCP client `i` and the `i`-th address after
//! the first, so that both generators find themselves known.

use std::{net::Ipv4Addr, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::{dhcp, embedded::Embedded};

/// Path of the Machines.
pub const MACHINES: &str = "apis/unbounded-cloud.io/v1alpha3/machines";
/// Where the Secret of the BMCs is.
const NAMESPACE: &str = "unbounded-system";
/// Its name.
const SECRET: &str = "bmc";

/// What to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many.
    pub machines: u64,
    /// Value of the site label.
    pub site: String,
    /// Address of machine 0.
    pub first: Ipv4Addr,
    /// Mask of every lease.
    pub mask: Ipv4Addr,
    /// Router of every lease.
    pub gateway: Ipv4Addr,
    /// Requests at once.
    pub parallel: usize,
    /// The machines have BMCs.
    pub bmcs: Option<Bmcs>,
}

/// BMCs of one password at addresses that count up.
#[derive(Debug, Clone)]
pub struct Bmcs {
    /// Address of the BMC of machine 0.
    pub first: Ipv4Addr,
    /// Port of each.
    pub port: u16,
    /// Account.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Bmcs {
    /// Base URL of the BMC of a machine.
    pub fn url(&self, index: u64) -> String {
        format!("https://{}:{}", counted(self.first, index), self.port)
    }

    fn redfish(&self, index: u64) -> Value {
        json!({
            "url": self.url(index), "username": self.user,
            "passwordRef": { "namespace": NAMESPACE, "name": SECRET, "key": "password" },
        })
    }

    fn secret(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": SECRET, "namespace": NAMESPACE },
            "stringData": { "password": self.password },
        })
    }
}

fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } })
}

/// The `index`-th address after `first`.
pub fn counted(first: Ipv4Addr, index: u64) -> Ipv4Addr {
    let offset = u32::try_from(index).unwrap_or(u32::MAX);
    Ipv4Addr::from(u32::from(first).saturating_add(offset))
}

impl Plan {
    /// Name of a machine.
    pub fn name(index: u64) -> String {
        format!("node-{index:06}")
    }

    /// The object of a machine.
    pub fn machine(&self, index: u64) -> Value {
        let mac = dhcp::mac(index).map(|byte| format!("{byte:02x}")).join(":");
        let address = counted(self.first, index);
        let mut machine = json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": {
                "name": Self::name(index),
                "labels": { "unbounded-cloud.io/site": self.site },
            },
            "spec": { "pxe": { "image": "oci-layout:/nowhere/host", "dhcpLeases": [{
                "mac": mac, "ipv4": address, "subnetMask": self.mask, "gateway": self.gateway,
                "dns": [self.gateway],
            }] } },
        });
        let pxe = machine.pointer_mut("/spec/pxe");
        if let (Some(pxe), Some(bmcs)) = (pxe.and_then(Value::as_object_mut), &self.bmcs) {
            pxe.insert("redfish".to_owned(), bmcs.redfish(index));
        }
        machine
    }
}

/// Makes the machines that are missing.
pub fn run(kubeconfig: &Path, plan: &Plan) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(make(kubeconfig, plan))
}

async fn make(kubeconfig: &Path, plan: &Plan) -> Result<Value> {
    let api = Embedded::open(kubeconfig)?;
    if let Some(bmcs) = &plan.bmcs {
        api.create("api/v1/namespaces", &namespace()).await?;
        let path = format!("api/v1/namespaces/{NAMESPACE}/secrets");
        api.create(&path, &bmcs.secret()).await?;
    }
    let begun = Instant::now();
    stream::iter(0..plan.machines)
        .map(|index| {
            let (api, machine) = (&api, plan.machine(index));
            async move {
                let made = api.create(MACHINES, &machine).await;
                made.with_context(|| format!("machine {index}"))
            }
        })
        .buffer_unordered(plan.parallel)
        .try_collect::<()>()
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "machines": plan.machines, "seconds": seconds }))
}
