//! The appliance as a whole against a simulated BMC and a scripted host.

use anyhow::{Result, ensure};
use metalman_api::{
    install::{InstallFailure, InstallPlan, InstallStage},
    operation::{Phase, Stage},
};
use metalman_tests::{appliance::Appliance, host::progress, rack::Rack, wait};
use reqwest::StatusCode;
use serde_json::json;

/// Netboots `node-1` and lets the installer claim its token.
async fn claim(rack: &Rack, boot_id: &str) -> Result<(String, InstallPlan)> {
    let host = rack.host()?;
    let token = host.install_token().await?;
    let plan = host
        .claim(&token, boot_id)
        .await?
        .error_for_status()?
        .json()
        .await?;
    Ok((token, plan))
}

#[tokio::test]
async fn a_repave_completes_on_proof_and_boots_from_disk_ever_after() -> Result<()> {
    let rack = Rack::start().await?;
    let host = rack.host()?;
    rack.operate("replace", "HostReplace", "node-1").await?;
    rack.reaches("replace", Stage::WaitingRepave).await?;
    ensure!(rack.power_changes() == (1, 0), "{:?}", rack.bmc.log());
    let (token, plan) = claim(&rack, "installer").await?;
    ensure!(plan.machine == "node-1" && plan.operation == "replace");
    ensure!(
        plan.files
            .iter()
            .any(|f| f.path == "/var/lib/cloud/seed/nocloud/meta-data")
    );
    wait::until(
        "GRUB to start the disk once the token is claimed",
        async || host.is_told_to_start_disk().await.ok().filter(|told| *told),
    )
    .await?;

    let report = progress("installer", InstallStage::Writing, Some(40));
    host.report(&token, &report).await?.error_for_status()?;
    wait::until("the percent to be shown", async || {
        let target = rack
            .operation("replace")
            .await
            .ok()?
            .status?
            .targets
            .into_iter()
            .next()?;
        (target.percent == Some(40)).then_some(())
    })
    .await?;
    host.write_image(&token, "installer", &plan).await?;
    rack.reaches("replace", Stage::WaitingBoot).await?;
    ensure!(
        rack.bmc.boot().enabled == bmcsim::Enabled::Disabled,
        "the boot override is removed: {:?}",
        rack.bmc.boot()
    );
    host.report_boot(&plan, "first-boot").await?;
    let ended = rack.ends("replace", Phase::Complete).await?;

    let target = ended.status.unwrap().targets.remove(0);
    let kinds: Vec<_> = target.evidence.iter().map(|e| e.kind.as_str()).collect();
    for proof in [
        "PowerOff",
        "BootOverrideSet",
        "PowerOn",
        "ImageWritten",
        "FirstBoot",
    ] {
        ensure!(kinds.contains(&proof), "{proof} in {kinds:?}");
    }
    ensure!(
        rack.power_changes() == (1, 0),
        "the machine was off: one power-on, nothing else"
    );
    let again = host.claim(&token, "installer").await?;
    ensure!(
        again.status() == StatusCode::GONE,
        "a used token is worth nothing"
    );
    Ok(())
}

#[tokio::test]
async fn a_killed_appliance_goes_on_where_it_was_and_repeats_nothing() -> Result<()> {
    let mut rack = Rack::start().await?;
    rack.operate("replace", "HostReplace", "node-1").await?;
    rack.reaches("replace", Stage::WaitingRepave).await?;
    let (token, plan) = claim(&rack, "installer").await?;
    let report = progress("installer", InstallStage::Writing, Some(10));
    rack.host()?
        .report(&token, &report)
        .await?
        .error_for_status()?;
    rack.appliance.kill()?;
    rack.appliance.restart().await?;
    let host = rack.host()?;
    host.write_image(&token, "installer", &plan).await?;
    rack.reaches("replace", Stage::WaitingBoot).await?;
    rack.appliance.kill()?;
    rack.appliance.restart().await?;
    rack.host()?.report_boot(&plan, "first-boot").await?;
    rack.ends("replace", Phase::Complete).await?;
    ensure!(rack.power_changes() == (1, 0), "{:?}", rack.bmc.log().power);
    Ok(())
}

#[tokio::test]
async fn postgresql_serves_as_well() -> Result<()> {
    let Some(url) = metalman_tests::postgres::fresh_schema("service").await? else {
        return Ok(());
    };
    let mut rack = Rack::start_on(Some(url)).await?;
    rack.operate("replace", "HostReplace", "node-1").await?;
    rack.reaches("replace", Stage::WaitingRepave).await?;
    let (token, plan) = claim(&rack, "installer").await?;
    rack.appliance.kill()?;
    rack.appliance.restart().await?;
    rack.host()?.write_image(&token, "installer", &plan).await?;
    rack.reaches("replace", Stage::WaitingBoot).await?;
    rack.host()?.report_boot(&plan, "first-boot").await?;
    rack.ends("replace", Phase::Complete).await?;
    ensure!(rack.power_changes() == (1, 0), "{:?}", rack.bmc.log().power);
    Ok(())
}

#[tokio::test]
async fn a_second_appliance_on_a_database_waits_until_the_first_dies() -> Result<()> {
    let Some(url) = metalman_tests::postgres::fresh_schema("owner").await? else {
        return Ok(());
    };
    let mut rack = Rack::start_on(Some(url.clone())).await?;
    let dir = tempfile::tempdir()?;
    let mut second = Appliance::new(dir.path(), Some(url), None)?;
    second.spawn()?;
    wait::until("the second to say that it waits", async || {
        let log = second.log();
        log.contains("another appliance works on this database")
            .then_some(())
    })
    .await?;
    ensure!(!second.is_ready().await, "{}", second.log());
    rack.operate("on", "HostPowerOn", "node-1").await?;
    rack.ends("on", Phase::Complete).await?;
    ensure!(!second.is_ready().await, "{}", second.log());
    rack.appliance.kill()?;
    wait::until("the second to take over", async || {
        second.is_ready().await.then_some(())
    })
    .await?;
    rack.client.0 = second.client().await?;
    rack.operate("off", "HostPowerOff", "node-1").await?;
    rack.ends("off", Phase::Complete).await?;
    second.stop().await
}

#[tokio::test]
async fn power_operations_end_by_readings() -> Result<()> {
    let rack = Rack::start().await?;
    rack.operate("on", "HostPowerOn", "node-1").await?;
    rack.ends("on", Phase::Complete).await?;
    rack.operate("reboot", "HostReboot", "node-1").await?;
    rack.ends("reboot", Phase::Complete).await?;
    rack.operate("off", "HostPowerOff", "node-1").await?;
    let ended = rack.ends("off", Phase::Complete).await?;
    ensure!(
        ended
            .status
            .unwrap()
            .targets
            .remove(0)
            .evidence
            .iter()
            .any(|e| e.kind == "PowerOff")
    );
    ensure!(rack.power_changes() == (2, 2), "{:?}", rack.bmc.log().power);
    Ok(())
}

#[tokio::test]
async fn a_refused_password_is_tried_once_until_the_secret_changes() -> Result<()> {
    let rack = Rack::start().await?;
    // A session that works would be kept whatever the Secret says.
    rack.bmc.set_password("another");
    rack.bmc.clear_sessions();
    rack.set_password("wrong").await?;
    rack.operate("first", "HostReboot", "node-1").await?;
    let failed = rack.ends("first", Phase::Failed).await?.status.unwrap();
    ensure!(
        failed.conditions.iter().any(|c| c.reason == "Unauthorized"),
        "{failed:?}"
    );
    ensure!(failed.message.unwrap().contains("unbounded-system/bmc"));
    let refused = || rack.bmc.counters().logins_refused;
    let before = refused();
    // The version the poller may have begun with, and the wrong one.
    ensure!((1..=2).contains(&before), "{before} refused logins");
    rack.operate("second", "HostReboot", "node-1").await?;
    rack.ends("second", Phase::Failed).await?;
    ensure!(
        refused() == before,
        "a password that was refused is tried again"
    );
    rack.bmc.set_password("correct horse");
    rack.set_password("correct horse").await?;
    rack.operate("third", "HostReboot", "node-1").await?;
    rack.ends("third", Phase::Complete).await?;
    Ok(())
}

#[tokio::test]
async fn bad_input_is_named_before_power_is_touched() -> Result<()> {
    let rack = Rack::start().await?;
    for (number, changes, reason, says) in [
        (
            0,
            json!({ "dhcpLeases": [] }),
            "NoLease",
            "spec.pxe.dhcpLeases",
        ),
        (1, json!({ "image": null }), "NoImage", "spec.pxe.image"),
        (
            2,
            json!({ "netbootImage": null }),
            "NoNetbootImage",
            "spec.pxe.netbootImage",
        ),
        (
            3,
            json!({ "redfish": null }),
            "UnsupportedTarget",
            "spec.pxe.redfish",
        ),
        (
            4,
            json!({ "image": "oci-layout:/none" }),
            "ImageNotFound",
            "spec.pxe.image",
        ),
        (
            5,
            json!({ "image": "NOT A REFERENCE" }),
            "InvalidImageReference",
            "spec.pxe.image",
        ),
        (
            6,
            json!({ "redfish": { "passwordRef": { "name": "none" } } }),
            "SecretNotFound",
            "none",
        ),
        (7, json!({}), "AddressConflict", "node-1"),
    ] {
        let machine = format!("bad-{number}");
        let lease = json!([{
            "mac": format!("52:54:00:77:01:{number:02}"), "ipv4": format!("127.0.1.{number}"),
            "subnetMask": "255.0.0.0",
        }]);
        let mut changes = changes;
        if reason != "AddressConflict" && changes.get("dhcpLeases").is_none() {
            changes
                .as_object_mut()
                .unwrap()
                .insert("dhcpLeases".into(), lease);
        }
        rack.apply_machine(&machine, changes).await?;
        let operation = format!("op-{number}");
        rack.operate(&operation, "HostReplace", &machine).await?;
        let status = rack.ends(&operation, Phase::Failed).await?.status.unwrap();
        let condition = status
            .conditions
            .iter()
            .find(|c| c.type_ == "Completed")
            .unwrap();
        ensure!(condition.reason == reason, "{machine}: {condition:?}");
        ensure!(condition.message.contains(says), "{machine}: {condition:?}");
        ensure!(condition.message.contains(&machine) || reason == "SecretNotFound");
    }
    ensure!(rack.power_changes() == (0, 0), "{:?}", rack.bmc.log().power);
    Ok(())
}

#[tokio::test]
async fn a_broken_template_is_a_condition_and_stops_a_repave_before_power() -> Result<()> {
    let rack = Rack::start().await?;
    let host = rack.host()?;
    rack.condition("node-1", "BootFilesReady", "True").await?;
    for (name, template, line, says) in [
        (
            "missing",
            "echo {{ machine.name | grub }}\n\necho {{ machine.serial | grub }}\n",
            "grub/grub.cfg.j2 line 3",
            "(machine.serial)",
        ),
        (
            "unquoted",
            "echo {{ machine.name }}\n",
            "grub/grub.cfg.j2 line 1",
            "not quoted",
        ),
        (
            "misplaced",
            "echo \"{{ machine.name | grub }}\"\n",
            "grub/grub.cfg.j2",
            "inside quotes",
        ),
    ] {
        let image = rack.boot_image(name, &[("disk/grub/grub.cfg.j2", template.as_bytes())])?;
        rack.apply_machine("node-1", json!({ "netbootImage": image }))
            .await?;
        let what = format!("{name} to be a condition");
        wait::until(&what, async || {
            let broken = rack.condition("node-1", "BootFilesReady", "False").await;
            let broken = broken.ok()?;
            let told = broken.message.contains(line) && broken.message.contains(says);
            (broken.reason == "TemplateFailed" && told).then_some(())
        })
        .await?;
        let operation = format!("replace-{name}");
        rack.operate(&operation, "HostReplace", "node-1").await?;
        let status = rack.ends(&operation, Phase::Failed).await?.status.unwrap();
        let ended = status.conditions.iter().find(|c| c.type_ == "Completed");
        let ended = ended.unwrap();
        ensure!(ended.reason == "TemplateFailed", "{ended:?}");
        ensure!(ended.message.contains(line), "{ended:?}");
        ensure!(rack.power_changes() == (0, 0), "{:?}", rack.bmc.log().power);
    }
    let image = rack.boot_image(
        "served",
        &[
            (
                "disk/grub/grub.cfg.j2",
                b"echo {{ machine.serial | grub }}\n",
            ),
            ("disk/other.cfg.j2", b"\n{{ machine.serial | grub }}\n"),
        ],
    )?;
    rack.apply_machine("node-1", json!({ "netbootImage": image }))
        .await?;
    wait::until("GRUB to be told why, and to start the disk", async || {
        let text = host.get("grub/grub.cfg").await.ok()?.text().await.ok()?;
        let told = text.contains("grub/grub.cfg.j2 line 1") && text.contains("machine.serial");
        (told && text.contains("chainloader") && !text.contains("vmlinuz")).then_some(())
    })
    .await?;
    let other = host.get("other.cfg").await?;
    ensure!(other.status() == StatusCode::INTERNAL_SERVER_ERROR);
    ensure!(other.text().await?.contains("other.cfg.j2 line 2"));

    let image = rack.boot_image(
        "mended",
        &[(
            "disk/grub/grub.cfg.j2",
            b"echo {{ machine.name | grub }} unbounded.token={% if install %}{{ install.token | grub }}{% endif %}\n",
        )],
    )?;
    rack.apply_machine("node-1", json!({ "netbootImage": image }))
        .await?;
    rack.condition("node-1", "BootFilesReady", "True").await?;
    rack.operate("replace", "HostReplace", "node-1").await?;
    rack.reaches("replace", Stage::WaitingRepave).await?;
    ensure!(!host.install_token().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_foreign_or_second_installer_is_refused_and_a_refused_disk_is_final() -> Result<()> {
    let rack = Rack::start().await?;
    rack.operate("replace", "HostReplace", "node-1").await?;
    rack.reaches("replace", Stage::WaitingRepave).await?;
    let token = rack.host()?.install_token().await?;
    let stranger = metalman_tests::host::Host::new(
        &rack.appliance.http(),
        std::net::Ipv4Addr::new(127, 0, 0, 99),
        "52:54:00:99:99:99",
    )?;
    ensure!(stranger.claim(&token, "x").await?.status() == StatusCode::FORBIDDEN);
    ensure!(stranger.claim("no-such-token", "x").await?.status() == StatusCode::NOT_FOUND);
    ensure!(stranger.get("grub/grub.cfg").await?.status() == StatusCode::NOT_FOUND);
    let (token, _) = claim(&rack, "installer").await?;
    let host = rack.host()?;
    ensure!(host.claim(&token, "another").await?.status() == StatusCode::CONFLICT);
    let mut report = progress("installer", InstallStage::Failed, None);
    report.failure = Some(InstallFailure {
        reason: "AmbiguousDisk".into(),
        message: "more than one disk qualifies (vda, vdb)".into(),
    });
    host.report(&token, &report).await?.error_for_status()?;
    let status = rack.ends("replace", Phase::Failed).await?.status.unwrap();
    ensure!(
        status
            .conditions
            .iter()
            .any(|c| c.reason == "AmbiguousDisk"),
        "{status:?}"
    );
    ensure!(
        host.is_told_to_start_disk().await?,
        "nothing installs after a failure"
    );
    Ok(())
}

#[tokio::test]
async fn a_raised_counter_repaves_and_its_status_follows() -> Result<()> {
    let rack = Rack::start().await?;
    let api: kube::Api<metalman_api::machine::Machine> = kube::Api::all(rack.client.0.clone());
    let raised = json!({ "spec": { "operations": { "repaveCounter": 1, "rebootCounter": 1 } } });
    api.patch(
        "node-1",
        &kube::api::PatchParams::default(),
        &kube::api::Patch::Merge(raised),
    )
    .await?;
    let name = "node-1-repave-1";
    wait::until("the operation to be made", async || {
        rack.operation(name).await.ok()
    })
    .await?;
    rack.reaches(name, Stage::WaitingRepave).await?;
    let (token, plan) = claim(&rack, "installer").await?;
    rack.host()?.write_image(&token, "installer", &plan).await?;
    rack.reaches(name, Stage::WaitingBoot).await?;
    rack.host()?.report_boot(&plan, "first-boot").await?;
    let ended = rack.ends(name, Phase::Complete).await?;
    ensure!(ended.metadata.owner_references.unwrap().remove(0).name == "node-1");
    wait::until("the status to follow", async || {
        let counters = rack.machine("node-1").await.ok()?.status?.operations?;
        (counters.repave_counter == 1 && counters.reboot_counter == 1).then_some(())
    })
    .await
}

#[tokio::test]
async fn an_expired_operation_is_deleted() -> Result<()> {
    let rack = Rack::start().await?;
    rack.operate("off", "HostPowerOff", "node-1").await?;
    rack.ends("off", Phase::Complete).await?;
    let api: kube::Api<metalman_api::operation::MachineOperation> =
        kube::Api::all(rack.client.0.clone());
    let expiring = json!({ "spec": { "ttlSecondsAfterFinished": 0 } });
    api.patch(
        "off",
        &kube::api::PatchParams::default(),
        &kube::api::Patch::Merge(expiring),
    )
    .await?;
    wait::until("the operation to be deleted", async || {
        api.get_opt("off").await.ok()?.is_none().then_some(())
    })
    .await?;
    wait::until("the Machine to speak of it no more", async || {
        let status = rack.machine("node-1").await.ok()?.status?;
        status.message.is_none().then_some(())
    })
    .await
}
