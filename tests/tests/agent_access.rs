//! The credential of an installed host: what it opens, and when it ends.

use std::time::Duration;

use agent::presence::{Presence, Untold};
use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{
    Api, Client, Config,
    api::DeleteParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use metalman_api::{
    install::InstallPlan,
    machine::Machine,
    operation::{Phase, Stage},
};
use metalman_tests::{rack::Rack, wait};

/// Repaves `node-1` and returns the kubeconfig its agent was given.
async fn install(rack: &Rack, operation: &str) -> Result<String> {
    rack.operate(operation, "HostReplace", "node-1").await?;
    rack.reaches(operation, Stage::WaitingRepave).await?;
    let host = rack.host()?;
    let token = host.install_token().await?;
    let plan = host.claim(&token, operation).await?.error_for_status()?;
    let plan: InstallPlan = plan.json().await?;
    let file = plan
        .files
        .iter()
        .find(|file| file.path == agent::presence::KUBECONFIG)
        .context("the plan has a kubeconfig for the agent")?;
    ensure!(file.mode == 0o600);
    let kubeconfig = file.content.clone();
    host.write_image(&token, operation, &plan).await?;
    rack.reaches(operation, Stage::WaitingBoot).await?;
    host.report_boot(&plan, &format!("boot-{operation}"))
        .await?;
    rack.ends(operation, Phase::Complete).await?;
    Ok(kubeconfig)
}

async fn client(kubeconfig: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// What the agent on the host does with its kubeconfig.
async fn as_agent<T: Send + 'static>(
    kubeconfig: &str,
    ask: impl FnOnce(&Presence) -> T + Send + 'static,
) -> Result<T> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), kubeconfig)?;
    let presence = Presence::open(file.path(), "node-1")?.context("there is a kubeconfig")?;
    Ok(tokio::task::spawn_blocking(move || ask(&presence)).await?)
}

/// The host makes its Lease, and renews it.
async fn keeps_its_lease(rack: &Rack, kubeconfig: &str) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(rack.client.0.clone(), "kube-node-lease");
    let first: Timestamp = "2026-01-01T00:00:00.5Z".parse()?;
    for now in [first, first + Duration::from_mins(1)] {
        as_agent(kubeconfig, move |presence| {
            presence.check().and_then(|()| presence.renew(now))
        })
        .await??;
        let spec = leases.get("node-1").await?.spec.context("a spec")?;
        ensure!(spec.holder_identity.as_deref() == Some("node-1"));
        ensure!(spec.renew_time.map(|time| time.0) == Some(now));
    }
    Ok(())
}

fn code<T>(result: kube::Result<T>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(_) => 0,
    }
}

async fn becomes(machines: &Api<Machine>, expected: u16) -> Result<()> {
    wait::until("the token to be known or forgotten", async || {
        (code(machines.get("node-1").await) == expected).then_some(())
    })
    .await
}

/// `metalman audit` shows what an operator did, within the second or two until it is written down.
async fn audited(rack: &Rack) -> Result<()> {
    wait::until("the audit to show an operation", async || {
        let text = rack
            .appliance
            .run(&["audit", "--verb", "create", "--object", "second"])
            .ok()?;
        let is_told = text.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().skip(2).collect();
            words
                == [
                    "admin",
                    "create",
                    "machineoperations.unbounded-cloud.io",
                    "second",
                    "201",
                ]
        });
        is_told.then_some(())
    })
    .await?;
    let refused = rack
        .appliance
        .run(&["audit", "--refused", "--output", "json"])?;
    for line in refused.lines() {
        let entry: serde_json::Value = serde_json::from_str(line)?;
        let code = entry
            .pointer("/detail/code")
            .and_then(serde_json::Value::as_u64);
        ensure!(code >= Some(400), "{entry}");
    }
    Ok(())
}

#[tokio::test]
async fn an_installed_host_may_touch_its_own_machine_until_it_is_installed_anew() -> Result<()> {
    let rack = Rack::start().await?;
    let other = "apiVersion: unbounded-cloud.io/v1alpha3\nkind: Machine\nmetadata: {name: node-2}\nspec: {}";
    rack.apply(other).await?;
    let kubeconfig = install(&rack, "first").await?;
    let first = client(&kubeconfig).await?;
    let machines: Api<Machine> = Api::all(first.clone());
    becomes(&machines, 200).await?;
    ensure!(code(machines.get("node-2").await) == 403);
    ensure!(code(machines.list(&kube::api::ListParams::default()).await) == 403);
    for namespace in ["unbounded-system", "default"] {
        let secrets: Api<Secret> = Api::namespaced(first.clone(), namespace);
        ensure!(code(secrets.get("bmc").await) == 403);
        ensure!(code(secrets.list(&kube::api::ListParams::default()).await) == 403);
    }

    keeps_its_lease(&rack, &kubeconfig).await?;

    let second = client(&install(&rack, "second").await?).await?;
    let anew: Api<Machine> = Api::all(second);
    becomes(&anew, 200).await?;
    becomes(&machines, 401).await?;
    let told = as_agent(&kubeconfig, |presence| {
        presence.renew(Timestamp::UNIX_EPOCH)
    })
    .await?;
    ensure!(matches!(told, Err(Untold::TokenEnded)), "{told:?}");

    let listed = rack.appliance.run(&["token", "list"])?;
    ensure!(
        listed.contains("node-1  agent") && listed.contains("revoked"),
        "{listed}"
    );
    audited(&rack).await?;
    let all: Api<Machine> = Api::all(rack.client.0.clone());
    all.delete("node-1", &DeleteParams::default()).await?;
    ensure!(
        code(anew.get("node-1").await) == 401,
        "no Machine, no token"
    );
    Ok(())
}
