//! Makes Machine objects through the embedded Kubernetes API, as an administrator would.
//!
//! Invariant: machine `i` has the hardware address of DHCP client `i` and the `i`-th address after
//! the first, so that both generators find themselves known.

use std::{net::Ipv4Addr, path::Path, time::Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::dhcp;

const MACHINES: &str = "apis/unbounded-cloud.io/v1alpha3/machines";

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
}

impl Plan {
    fn machine(&self, index: u64) -> Value {
        let mac = dhcp::mac(index).map(|byte| format!("{byte:02x}")).join(":");
        let offset = u32::try_from(index).unwrap_or(u32::MAX);
        let address = Ipv4Addr::from(u32::from(self.first).saturating_add(offset));
        json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": {
                "name": format!("node-{index:06}"),
                "labels": { "unbounded-cloud.io/site": self.site },
            },
            "spec": { "pxe": { "image": "oci-layout:/nowhere/host", "dhcpLeases": [{
                "mac": mac, "ipv4": address, "subnetMask": self.mask, "gateway": self.gateway,
                "dns": [self.gateway],
            }] } },
        })
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
    let config: Value = serde_json::from_slice(&std::fs::read(kubeconfig)?)?;
    let text = |pointer: &str| {
        let value = config.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("no {pointer} in {}", kubeconfig.display()))
    };
    let ca = text("/clusters/0/cluster/certificate-authority-data")?;
    let ca = base64::engine::general_purpose::STANDARD.decode(ca)?;
    let url = format!("{}/{MACHINES}", text("/clusters/0/cluster/server")?);
    let token = text("/users/0/user/token")?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
        .http1_only()
        .build()?;
    let begun = Instant::now();
    stream::iter(0..plan.machines)
        .map(|index| {
            let request = client
                .post(&url)
                .bearer_auth(token)
                .json(&plan.machine(index));
            async move {
                let answer = request.send().await?;
                let status = answer.status();
                if !status.is_success() && status.as_u16() != 409 {
                    bail!("machine {index}: {status}: {}", answer.text().await?);
                }
                Ok(())
            }
        })
        .buffer_unordered(plan.parallel)
        .try_collect::<()>()
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "machines": plan.machines, "seconds": seconds }))
}
