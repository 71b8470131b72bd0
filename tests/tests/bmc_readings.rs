//! What is read of BMCs without being asked, and whom they are believed to be.

use anyhow::{Context, Result, ensure};
use bmcsim::{Door, Fault};
use metalman_tests::{vendors::Vendors, wait};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn readings_reach_the_status_and_only_changes_are_written() -> Result<()> {
    let vendors = Vendors::start(&["dell"]).await?;
    let status = vendors
        .redfish_status("dell", |found| found.health.is_some())
        .await?;
    ensure!(status.health.as_deref() == Some("OK"), "{status:?}");
    ensure!(
        status.bios_version.is_some() && status.firmware_version.is_some(),
        "{status:?}"
    );
    ensure!(status.cert_not_after.is_some(), "{status:?}");
    ensure!(status.power_state.as_deref() == Some("On"), "{status:?}");

    // Sensors move and the object does not: two more rounds leave its version as it is.
    let version = || async {
        let machine = vendors.rack.machine("dell").await?;
        anyhow::Ok(machine.metadata.resource_version)
    };
    let bmc = vendors.bmc("dell")?;
    let rounds = || {
        let calls = bmc.log().calls;
        let thermal = calls.iter().filter(|call| call.path.ends_with("/Thermal"));
        thermal.count()
    };
    let (before, seen) = (version().await?, rounds());
    bmc.add_fault(Fault {
        method: Some("GET".into()),
        path: Some("*/Thermal".into()),
        merge: Some(json!({ "Temperatures": [
            { "Name": "CPU", "ReadingCelsius": 91.5, "Status": { "State": "Enabled", "Health": "Warning" } },
        ] })),
        ..Fault::default()
    });
    wait::until("two more rounds", async || {
        (rounds() >= seen + 3).then_some(())
    })
    .await?;
    ensure!(version().await? == before, "a temperature was written");
    let page = vendors.web("/api/v1/machines/dell").await?;
    let facts = page["facts"].as_array().context("facts")?;
    let fact = |label: &str| facts.iter().find(|fact| fact["label"] == label);
    ensure!(
        fact("Temperature").is_some_and(|fact| fact["value"] == "CPU 91.5 °C"),
        "{page}"
    );
    ensure!(
        fact("Not well").is_some_and(|fact| fact["value"] == "CPU: Warning"),
        "{page}"
    );

    // Health is another matter.
    bmc.add_fault(Fault {
        method: Some("GET".into()),
        path: Some("/redfish/v1/Managers/*".into()),
        merge: Some(json!({ "Status": { "Health": "Critical" } })),
        ..Fault::default()
    });
    vendors
        .redfish_status("dell", |found| found.health.as_deref() == Some("Critical"))
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_refused_until_an_operator_pins_it() -> Result<()> {
    let vendors = Vendors::start(&["hpe"]).await?;
    let old = vendors
        .redfish_status("hpe", |found| found.cert_fingerprint.is_some())
        .await?;
    let old = old.cert_fingerprint.context("a fingerprint")?;
    let told = vendors.ask(&["repin", "hpe"])?;
    ensure!(
        told.contains(&old) && told.contains("nothing to do"),
        "{told}"
    );

    let bmc = vendors.bmc("hpe")?;
    bmc.change_certificate()?;
    // Kept connections have seen the old one.
    bmc.set_door(Door::Reset);
    bmc.set_door(Door::Open);
    let condition = vendors
        .rack
        .condition("hpe", "RedfishReady", "False")
        .await?;
    ensure!(
        condition.reason == "CertificateMismatch"
            && condition.message.contains("metalman bmc repin hpe"),
        "{condition:?}"
    );
    let refused = bmc.counters().logins_refused;

    let said = vendors.refusal(&["repin", "hpe"])?;
    ensure!(said.contains("--accept-current"), "{said}");
    let wrong = "00".repeat(32);
    let said = vendors.refusal(&["repin", "hpe", "--fingerprint", &wrong])?;
    ensure!(said.contains("nothing was changed"), "{said}");
    ensure!(
        vendors
            .refusal(&["show", "hpe"])?
            .contains("metalman bmc repin hpe")
    );

    let told = vendors.ask(&["repin", "hpe", "--accept-current"])?;
    ensure!(told.contains(&old) && told.contains("now pinned"), "{told}");
    vendors
        .rack
        .condition("hpe", "RedfishReady", "True")
        .await?;
    let new = vendors
        .redfish_status("hpe", |found| found.cert_fingerprint.as_ref() != Some(&old))
        .await?;
    let new = new.cert_fingerprint.context("a fingerprint")?;
    ensure!(told.contains(&new), "{told} {new}");
    let report = vendors.json(&["show", "hpe"])?;
    ensure!(
        report["certificate"]["fingerprint"] == new.as_str(),
        "{report}"
    );
    ensure!(
        bmc.counters().logins_refused == refused,
        "a password was refused"
    );
    ensure!(bmc.sessions().len() <= 1, "{:?}", bmc.sessions());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_may_say_which_certificate_is_good() -> Result<()> {
    let vendors = Vendors::start(&["dell"]).await?;
    let status = vendors
        .redfish_status("dell", |found| found.cert_fingerprint.is_some())
        .await?;
    let right = status.cert_fingerprint.context("a fingerprint")?;
    let tls = |tls: Value| json!({ "spec": { "pxe": { "redfish": { "tls": tls } } } });

    vendors
        .patch("dell", tls(json!({ "fingerprint": "11".repeat(32) })))
        .await?;
    let condition = vendors
        .rack
        .condition("dell", "RedfishReady", "False")
        .await?;
    ensure!(
        condition.message.contains("spec.pxe.redfish.tls"),
        "{condition:?}"
    );
    vendors
        .patch(
            "dell",
            tls(json!({ "fingerprint": right.replace(':', "") })),
        )
        .await?;
    vendors
        .rack
        .condition("dell", "RedfishReady", "True")
        .await?;

    // Some authority that did not issue it.
    let other = std::fs::read_to_string(vendors.rack.appliance.state().join("api/ca.crt"))?;
    vendors
        .patch(
            "dell",
            tls(json!({ "fingerprint": null, "caBundle": other })),
        )
        .await?;
    let condition = vendors
        .rack
        .condition("dell", "RedfishReady", "False")
        .await?;
    ensure!(condition.reason == "CertificateUntrusted", "{condition:?}");
    vendors
        .patch(
            "dell",
            tls(json!({ "caBundle": null, "insecureSkipVerify": true })),
        )
        .await?;
    vendors
        .rack
        .condition("dell", "RedfishReady", "True")
        .await?;
    vendors.bmc("dell")?.change_certificate()?;
    let said = vendors.refusal(&["repin", "dell", "--accept-current"])?;
    ensure!(said.contains("spec.pxe.redfish.tls"), "{said}");
    vendors.ask(&["show", "dell"])?;

    let both = tls(json!({ "fingerprint": right, "insecureSkipVerify": true }));
    let refusal = vendors
        .patch("dell", both)
        .await
        .err()
        .context("accepted")?;
    ensure!(
        format!("{refusal:#}").contains("at most one of"),
        "{refusal:#}"
    );
    Ok(())
}
