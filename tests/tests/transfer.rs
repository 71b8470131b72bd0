//! A site moved from the embedded API to a real API server, by kubectl.
//!
//! The real server comes from the binaries in `KUBEBUILDER_ASSETS`; without them this says aloud that
//! nothing was compared. Without kubectl it says so, too, and fails with `METALMAN_TEST_STRICT=1`.

use std::{collections::BTreeMap, io::Write as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use metalman::transfer::{self, Kind, Options};
use metalman_tests::apis::{Embedded, Reference, assets};
use serde_json::Value;
use tokio::process::Command;

const SITE: &str = include_str!("transfer/site.yaml");
const ALL: Options = Options {
    secrets: true,
    status: false,
};

async fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("kubectl")
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", kubeconfig.parent().context("a folder")?)
        .output()
        .await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "kubectl {arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let found = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(found, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// What `kubectl get` shows, by kind and name, as an export would write it.
async fn shown(kubeconfig: &Path) -> Result<BTreeMap<String, Value>> {
    let kinds = "namespaces,secrets,configmaps,nodes,machines,machineconfigurations,\
                 machineconfigurationversions,machineoperations";
    let text = kubectl(kubeconfig, &["get", kinds, "-A", "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&text)?;
    let mut found = BTreeMap::new();
    for item in list
        .get("items")
        .and_then(Value::as_array)
        .context("items")?
    {
        let word = |key: &str| {
            let word = item.get(key).and_then(Value::as_str);
            word.unwrap_or_default().to_owned()
        };
        let kind = Kind::of(&word("apiVersion"), &word("kind")).context("a kind that is moved")?;
        if let Some(moved) = transfer::portable(kind, item, ALL) {
            let name = item.pointer("/metadata/name").context("a name")?;
            found.insert(format!("{} {name}", kind.kind), moved);
        }
    }
    Ok(found)
}

/// The binaries, or a loud word that there are none. They are no Debian package, so that a run
/// without them is whole; one without kubectl is not.
async fn is_ready() -> Result<Option<std::path::PathBuf>> {
    let mut err = std::io::stderr();
    let Some(found) = assets() else {
        writeln!(
            err,
            "NOT COMPARED with a real server: KUBEBUILDER_ASSETS is not set"
        )?;
        return Ok(None);
    };
    let kubectl = Command::new("kubectl")
        .args(["version", "--client"])
        .output()
        .await;
    if kubectl.is_ok_and(|output| output.status.success()) {
        return Ok(Some(found));
    }
    #[expect(clippy::disallowed_methods, reason = "the environment of the test run")]
    let strict = std::env::var("METALMAN_TEST_STRICT").is_ok_and(|value| value == "1");
    ensure!(!strict, "kubectl is missing");
    writeln!(err, "SKIPPED: kubectl is missing")?;
    Ok(None)
}

#[tokio::test]
async fn an_export_is_applied_to_a_real_server_and_read_back_the_same() -> Result<()> {
    let Some(assets) = is_ready().await? else {
        return Ok(());
    };
    let embedded = Embedded::start().await?;
    let own = &embedded.endpoint.kubeconfig;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("site.yaml");
    let path = file.to_str().context("a path")?;
    std::fs::write(&file, SITE)?;
    kubectl(own, &["apply", "-f", path]).await?;
    let exported = transfer::export(&client(own).await?, ALL).await?;
    std::fs::write(&file, &exported)?;

    let real = Reference::start(&assets).await?;
    let other = &real.endpoint.kubeconfig;
    let told = kubectl(other, &["apply", "--server-side", "-f", path]).await?;
    ensure!(
        told.contains("machine.unbounded-cloud.io/node-1 serverside-applied"),
        "{told}"
    );
    let (here, there) = (shown(own).await?, shown(other).await?);
    for (name, object) in &here {
        ensure!(
            there.get(name) == Some(object),
            "{name}: {object:#} is {:#?}",
            there.get(name)
        );
    }
    ensure!(
        here.len() == there.len() && here.len() >= 8,
        "{:?}",
        there.keys()
    );
    ensure!(transfer::export(&client(other).await?, ALL).await? == exported);
    // The plain way works too, and back again.
    kubectl(other, &["apply", "-f", path]).await?;
    let back = Embedded::start().await?;
    kubectl(&back.endpoint.kubeconfig, &["apply", "-f", path]).await?;
    ensure!(shown(&back.endpoint.kubeconfig).await? == here);
    back.stop().await?;
    real.stop().await?;
    embedded.stop().await
}
