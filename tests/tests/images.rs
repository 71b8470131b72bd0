//! Images of operations from Debian's `docker-registry`: away, damaged, private, unsigned, wrong.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use metalman_api::operation::{Phase, Stage};
use metalman_tests::{
    rack::Rack,
    registry::{LOGIN, Pushed, Registry},
    wait,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const BOOT: &str = "rack/boot";

/// A rack whose appliance speaks plain HTTP to these registries.
async fn rack(registries: &[&Registry], more: &[&str]) -> Result<Rack> {
    let hosts: Vec<_> = registries.iter().map(|registry| registry.host()).collect();
    let mut arguments = vec![format!("--images-plain-http-hosts={}", hosts.join(","))];
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    Rack::start_with(None, arguments).await
}

/// Pushes a boot image that is nowhere else, so that it must come from there.
async fn push_boot(rack: &Rack, registry: &Registry) -> Result<Pushed> {
    let image = rack.boot_image("pushed", &[("disk/note", b"from a registry")])?;
    let layout = Path::new(image.trim_start_matches("oci-layout:"));
    registry.push(layout, BOOT, "v1").await
}

/// Lets `node-1` boot from this tag in the registry, with more changes to its spec.pxe, and begins
/// to replace it.
async fn replace(
    rack: &Rack,
    operation: &str,
    registry: &Registry,
    tag: &str,
    mut changes: Value,
) -> Result<()> {
    let image = format!("{}/{BOOT}:{tag}", registry.host());
    if let Some(changes) = changes.as_object_mut() {
        changes.insert("netbootImage".into(), image.into());
    }
    rack.apply_machine("node-1", changes).await?;
    rack.operate(operation, "HostReplace", "node-1").await
}

/// Waits until the operation says this of its target; gives all that it says.
async fn waits(rack: &Rack, operation: &str, says: &str) -> Result<String> {
    let target = wait::until(says, async || {
        let status = rack.operation(operation).await.ok()?.status?;
        let target = status.targets.into_iter().next()?;
        let message = target.message.as_deref().unwrap_or_default();
        message.contains(says).then_some(target)
    });
    let target = target.await.with_context(|| rack.appliance.log())?;
    ensure!(target.stage == Some(Stage::Preparing), "{target:?}");
    ensure!(rack.power_changes() == (0, 0), "{:?}", rack.bmc.log().power);
    target.message.context("a message")
}

/// Waits until the operation has failed, and gives the condition that says why.
async fn fails(rack: &Rack, operation: &str) -> Result<Condition> {
    let status = rack.ends(operation, Phase::Failed).await?.status;
    let conditions = status.context("a status")?.conditions;
    let ended = conditions.into_iter().find(|c| c.type_ == "Completed");
    ensure!(rack.power_changes() == (0, 0), "{:?}", rack.bmc.log().power);
    ended.context("Completed")
}

/// Both images are there: the machine was told to boot.
async fn pulled(rack: &Rack, operation: &str) -> Result<()> {
    rack.reaches(operation, Stage::WaitingRepave).await?;
    Ok(())
}

#[tokio::test]
async fn a_registry_that_is_away_is_waited_for_and_then_the_machine_is_installed() -> Result<()> {
    let dir = TempDir::new()?;
    let Some(mut registry) = Registry::start(dir.path(), false).await? else {
        return Ok(());
    };
    let rack = rack(&[&registry], &[]).await?;
    push_boot(&rack, &registry).await?;
    registry
        .push(&rack.layout("host"), "rack/host", "v1")
        .await?;
    registry.stop()?;
    let image = format!("{}/rack/host:v1", registry.host());
    replace(&rack, "replace", &registry, "v1", json!({ "image": image })).await?;
    let message = waits(&rack, "replace", "; will try again").await?;
    let named = format!(
        "Machine node-1, spec.pxe.netbootImage: registry did not give the manifest for image {}/{BOOT}:v1",
        registry.host()
    );
    ensure!(message.starts_with(&named), "{message}");

    registry.resume().await?;
    pulled(&rack, "replace").await?;
    let host = rack.host()?;
    let token = host.install_token().await?;
    let plan = host.claim(&token, "installer").await?.error_for_status()?;
    let plan = plan.json().await?;
    host.write_image(&token, "installer", &plan).await?;
    rack.reaches("replace", Stage::WaitingBoot).await?;
    host.report_boot(&plan, "first-boot").await?;
    rack.ends("replace", Phase::Complete).await?;
    Ok(())
}

#[tokio::test]
async fn a_corrupt_layer_is_final_and_a_truncated_one_is_waited_for() -> Result<()> {
    let dir = TempDir::new()?;
    let Some(registry) = Registry::start(dir.path(), false).await? else {
        return Ok(());
    };
    let rack = rack(&[&registry], &[]).await?;
    let pushed = push_boot(&rack, &registry).await?;
    let layer = registry.blob(&pushed.layer);
    let whole = fs::read(&layer)?;
    damage(&layer)?;
    replace(&rack, "corrupt", &registry, "v1", json!({})).await?;
    let ended = fails(&rack, "corrupt").await?;
    ensure!(ended.reason == "ImageDigestMismatch", "{ended:?}");
    for part in [
        "Machine node-1, spec.pxe.netbootImage",
        &pushed.layer,
        "push the image again",
    ] {
        ensure!(ended.message.contains(part), "{part} in {ended:?}");
    }

    let short = whole.get(..whole.len() / 2).context("half a layer")?;
    fs::write(&layer, short)?;
    replace(&rack, "truncated", &registry, "v1", json!({})).await?;
    let message = waits(&rack, "truncated", "give the whole layer").await?;
    let at = format!("broke at byte {} of {}", short.len(), whole.len());
    ensure!(message.contains(&at), "{message}");
    fs::write(&layer, &whole)?;
    pulled(&rack, "truncated").await
}

/// Changes the last byte of a blob.
fn damage(blob: &Path) -> Result<()> {
    let mut bytes = fs::read(blob)?;
    let last = bytes.last_mut().context("a byte")?;
    *last ^= 1;
    Ok(fs::write(blob, bytes)?)
}

#[tokio::test]
async fn a_private_registry_wants_a_secret_that_exists_and_is_right() -> Result<()> {
    let dir = TempDir::new()?;
    let Some(registry) = Registry::start(dir.path(), true).await? else {
        return Ok(());
    };
    let rack = rack(&[&registry], &[]).await?;
    push_boot(&rack, &registry).await?;
    rack.apply_pull_secret("wrong", registry.host(), ("site", "guess"))
        .await?;
    rack.apply_pull_secret("right", registry.host(), LOGIN)
        .await?;
    for (operation, secret, reason, says) in [
        (
            "none",
            None,
            "ImageAccessDenied",
            "give credentials for it in spec.pxe.netbootPullSecretRef",
        ),
        (
            "missing",
            Some("absent"),
            "SecretNotFound",
            "unbounded-system/absent",
        ),
        (
            "wrong",
            Some("wrong"),
            "ImageAccessDenied",
            "correct the credentials in Secret unbounded-system/wrong",
        ),
    ] {
        let secret = secret.map(|name| json!({ "name": name, "namespace": "unbounded-system" }));
        replace(
            &rack,
            operation,
            &registry,
            "v1",
            json!({ "netbootPullSecretRef": secret }),
        )
        .await?;
        let ended = fails(&rack, operation).await?;
        ensure!(ended.reason == reason, "{operation}: {ended:?}");
        ensure!(ended.message.contains(says), "{operation}: {ended:?}");
        ensure!(!ended.message.contains("guess"), "{ended:?}");
    }
    let secret = json!({ "name": "right", "namespace": "unbounded-system" });
    replace(
        &rack,
        "right",
        &registry,
        "v1",
        json!({ "netbootPullSecretRef": secret }),
    )
    .await?;
    pulled(&rack, "right").await?;
    ensure!(
        !rack.appliance.log().contains("guess"),
        "a password is in the log"
    );
    Ok(())
}

/// A key pair, with the public half where `images.cosign_public_key_file` can be pointed at.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
        Ok(Self(key.context("a key")?))
    }

    /// SubjectPublicKeyInfo of a P-256 key (RFC 5480) in PEM, as `cosign.pub` is.
    fn write_public_key(&self, file: &Path) -> Result<()> {
        let head = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
            0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        let der = STANDARD.encode([&head, self.0.public_key().as_ref()].concat());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
        Ok(fs::write(file, pem)?)
    }

    fn sign(&self, payload: &[u8]) -> Result<String> {
        let signature = self.0.sign(&SystemRandom::new(), payload);
        Ok(STANDARD.encode(signature.context("a signature")?))
    }
}

#[tokio::test]
async fn only_images_signed_with_the_key_of_the_site_are_used() -> Result<()> {
    let dir = TempDir::new()?;
    let Some(registry) = Registry::start(&dir.path().join("registry"), false).await? else {
        return Ok(());
    };
    let (site, stranger) = (Signer::new()?, Signer::new()?);
    let public_key = dir.path().join("cosign.pub");
    site.write_public_key(&public_key)?;
    let key = format!("--images-cosign-public-key-file={}", public_key.display());
    let rack = rack(&[&registry], &[&key]).await?;
    let boot = push_boot(&rack, &registry).await?;
    let host = registry
        .push(&rack.layout("host"), "rack/host", "v1")
        .await?;
    registry
        .push_signature("rack/host", &host.manifest, |payload| site.sign(payload))
        .await?;
    let image = format!("{}/rack/host:v1", registry.host());
    let signed_host = json!({ "image": image });

    let tag = format!("{}.sig", boot.manifest.replace(':', "-"));
    replace(&rack, "unsigned", &registry, "v1", signed_host.clone()).await?;
    let ended = fails(&rack, "unsigned").await?;
    ensure!(ended.reason == "ImageSignatureRefused", "{ended:?}");
    ensure!(ended.message.contains(&tag), "{ended:?}");
    ensure!(ended.message.contains("cosign sign --key"), "{ended:?}");

    registry
        .push_signature(BOOT, &boot.manifest, |payload| stranger.sign(payload))
        .await?;
    replace(&rack, "stranger", &registry, "v1", signed_host.clone()).await?;
    let ended = fails(&rack, "stranger").await?;
    ensure!(ended.reason == "ImageSignatureRefused", "{ended:?}");
    ensure!(
        ended.message.contains("none of its 1 cosign signatures"),
        "{ended:?}"
    );

    registry
        .push_signature(BOOT, &boot.manifest, |payload| site.sign(payload))
        .await?;
    replace(&rack, "signed", &registry, "v1", signed_host.clone()).await?;
    pulled(&rack, "signed").await
}

#[tokio::test]
async fn an_image_for_another_architecture_is_refused_with_what_there_is() -> Result<()> {
    let dir = TempDir::new()?;
    let Some(registry) = Registry::start(dir.path(), false).await? else {
        return Ok(());
    };
    let rack = rack(&[&registry], &[]).await?;
    let pushed = push_boot(&rack, &registry).await?;
    registry.push_index(BOOT, "arm", &pushed, "arm64").await?;
    replace(&rack, "replace", &registry, "arm", json!({})).await?;
    let ended = fails(&rack, "replace").await?;
    ensure!(ended.reason == "ImagePlatformMissing", "{ended:?}");
    for part in [
        "no manifest for linux/amd64; it offers linux/arm64",
        "correct spec.pxe.architecture",
    ] {
        ensure!(ended.message.contains(part), "{part} in {ended:?}");
    }
    registry.push_index(BOOT, "arm", &pushed, "amd64").await?;
    replace(&rack, "again", &registry, "arm", json!({})).await?;
    pulled(&rack, "again").await
}

#[tokio::test]
async fn a_mirror_that_gives_other_bytes_is_left_and_named() -> Result<()> {
    let dir = TempDir::new()?;
    let Some(origin) = Registry::start(&dir.path().join("origin"), false).await? else {
        return Ok(());
    };
    let mirror = Registry::start(&dir.path().join("mirror"), false).await?;
    let mirror = mirror.context("it is installed")?;
    let mirrors = format!("--images-mirrors={}={}", origin.host(), mirror.host());
    let rack = rack(&[&origin, &mirror], &[&mirrors]).await?;
    let pushed = push_boot(&rack, &origin).await?;
    push_boot(&rack, &mirror).await?;
    damage(&mirror.blob(&pushed.layer))?;
    replace(&rack, "replace", &origin, "v1", json!({})).await?;
    pulled(&rack, "replace").await?;
    let log = rack.appliance.log();
    let told = log
        .lines()
        .find(|line| line.contains("mirror gave wrong content"));
    let told = told.with_context(|| log.clone())?;
    ensure!(
        told.contains(mirror.host()) && told.contains(&pushed.layer),
        "{told}"
    );
    Ok(())
}
