//! The credential of an installed host: what it opens, and when it ends.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
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

/// Repaves `node-1` and returns a client with the kubeconfig its agent was given.
async fn install(rack: &Rack, operation: &str) -> Result<Client> {
    rack.operate(operation, "HostReplace", "node-1").await?;
    rack.reaches(operation, Stage::WaitingRepave).await?;
    let host = rack.host()?;
    let token = host.install_token().await?;
    let plan = host.claim(&token, operation).await?.error_for_status()?;
    let plan: InstallPlan = plan.json().await?;
    let client = client(&plan).await?;
    host.write_image(&token, operation, &plan).await?;
    rack.reaches(operation, Stage::WaitingBoot).await?;
    host.report_boot(&plan, &format!("boot-{operation}"))
        .await?;
    rack.ends(operation, Phase::Complete).await?;
    Ok(client)
}

async fn client(plan: &InstallPlan) -> Result<Client> {
    let file = plan
        .files
        .iter()
        .find(|file| file.path == "/etc/unbounded/agent/kubeconfig")
        .context("the plan has a kubeconfig for the agent")?;
    ensure!(file.mode == 0o600);
    let kubeconfig = Kubeconfig::from_yaml(&file.content)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
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

#[tokio::test]
async fn an_installed_host_may_touch_its_own_machine_until_it_is_installed_anew() -> Result<()> {
    let rack = Rack::start().await?;
    let other = "apiVersion: unbounded-cloud.io/v1alpha3\nkind: Machine\nmetadata: {name: node-2}\nspec: {}";
    rack.apply(other).await?;
    let first = install(&rack, "first").await?;
    let machines: Api<Machine> = Api::all(first.clone());
    becomes(&machines, 200).await?;
    ensure!(code(machines.get("node-2").await) == 403);
    ensure!(code(machines.list(&kube::api::ListParams::default()).await) == 403);
    for namespace in ["unbounded-system", "default"] {
        let secrets: Api<Secret> = Api::namespaced(first.clone(), namespace);
        ensure!(code(secrets.get("bmc").await) == 403);
        ensure!(code(secrets.list(&kube::api::ListParams::default()).await) == 403);
    }

    let second = install(&rack, "second").await?;
    let anew: Api<Machine> = Api::all(second);
    becomes(&anew, 200).await?;
    becomes(&machines, 401).await?;

    let listed = rack.appliance.run(&["token", "list"])?;
    ensure!(
        listed.contains("node-1  agent") && listed.contains("revoked"),
        "{listed}"
    );
    let all: Api<Machine> = Api::all(rack.client.0.clone());
    all.delete("node-1", &DeleteParams::default()).await?;
    ensure!(
        code(anew.get("node-1").await) == 401,
        "no Machine, no token"
    );
    Ok(())
}
