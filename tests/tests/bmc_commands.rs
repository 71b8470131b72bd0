//! `metalman bmc …` against a running appliance and simulated BMCs of several vendors: what an
//! operator sees, and that no command ever opens a second session.

use anyhow::{Context, Result, ensure};
use bmcsim::{Door, Fault};
use metalman::store::Store;
use metalman_api::operation::Phase;
use metalman_tests::{vendors::Vendors, wait};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn every_vendor_is_shown_over_the_one_session() -> Result<()> {
    let profiles = ["dell", "hpe", "lenovo", "supermicro", "ami", "gb200"];
    let vendors = Vendors::start(&profiles).await?;
    for profile in profiles {
        let report = vendors.json(&["show", profile])?;
        let platform = report["platform"].as_str().unwrap_or_default();
        let wanted = if profile == "gb200" {
            "openbmc"
        } else {
            profile
        };
        ensure!(platform == wanted, "{profile}: {platform}");
        ensure!(report["system"]["power"] == "On", "{profile}: {report}");
        let drives = report["inventory"]["drives"].as_array();
        ensure!(drives.is_some_and(|drives| !drives.is_empty()), "{report}");
        let nics = report["inventory"]["interfaces"].as_array();
        ensure!(
            nics.is_some_and(|nics| nics.iter().any(|nic| nic["mac"].is_string())),
            "{report}"
        );
        let fingerprint = report["certificate"]["fingerprint"].as_str();
        ensure!(fingerprint.is_some_and(|text| text.len() == 95), "{report}");
        ensure!(report["certificate"]["not_after"].is_string(), "{report}");

        let table = vendors.ask(&["show", profile])?;
        for text in [
            "Machine",
            profile,
            "Certificate",
            "DRIVES",
            "NETWORK",
            "SENSORS",
        ] {
            ensure!(table.contains(text), "{profile} shows no {text}:\n{table}");
        }
        let url = vendors.ask(&["console-url", profile])?;
        ensure!(url.starts_with("https://127.0.0.1:"), "{url}");
        ensure!(
            (profile == "dell") == url.trim().ends_with("/console"),
            "{url}"
        );
        let bmc = vendors.bmc(profile)?;
        ensure!(bmc.sessions().len() <= 1, "{profile}: {:?}", bmc.sessions());
        ensure!(bmc.counters().sessions_peak <= 1, "{:?}", bmc.counters());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_log_comes_newest_first_and_as_long_as_asked() -> Result<()> {
    let vendors = Vendors::start(&["dell", "hpe"]).await?;
    for profile in ["dell", "hpe"] {
        let log = vendors.json(&["sel", profile, "--limit", "5"])?;
        let entries = log["entries"].as_array().context("entries")?;
        ensure!(entries.len() == 5, "{log}");
        let times: Vec<_> = entries.iter().map(|e| e["created"].as_str()).collect();
        ensure!(
            times.iter().all(Option::is_some) && times.is_sorted_by(|a, b| a >= b),
            "{times:?}"
        );
        let table = vendors.ask(&["sel", profile, "--limit", "5"])?;
        ensure!(
            table.lines().count() >= 6 && table.contains("SEVERITY"),
            "{table}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lamp_is_set_read_back_and_written_down() -> Result<()> {
    let vendors = Vendors::start(&["dell", "lenovo"]).await?;
    for profile in ["dell", "lenovo"] {
        for (word, is_on) in [("blink", true), ("off", false), ("on", true)] {
            let told = vendors.ask(&["led", profile, word])?;
            let wanted = if is_on { "reads on" } else { "reads off" };
            ensure!(told.contains(wanted), "{profile} {word}: {told}");
            let report = vendors.json(&["show", profile])?;
            ensure!(report["indicator"] == is_on, "{profile} {word}: {report}");
        }
        let timeline = vendors.rack.appliance.run(&["timeline", profile])?;
        ensure!(
            timeline.contains("indicator set to Blinking by admin"),
            "{timeline}"
        );
    }
    let store = vendors.rack.appliance.state().join("metalman.db");
    let store = Store::open(&format!("sqlite:{}", store.display())).await?;
    let audit = store.audit().list(None, 1000).await?;
    let lamps = audit.iter().filter(|entry| entry.action == "bmc-indicator");
    let lamps: Vec<_> = lamps
        .map(|e| (e.actor.as_str(), e.object.as_str()))
        .collect();
    ensure!(lamps.len() == 6, "{lamps:?}");
    ensure!(
        lamps.contains(&("admin", "Machine/dell")) && lamps.contains(&("admin", "Machine/lenovo")),
        "{lamps:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_needs_the_token_in_its_header() -> Result<()> {
    let vendors = Vendors::start(&["dell"]).await?;
    let ca = std::fs::read(vendors.rack.appliance.state().join("api/ca.crt"))?;
    let token = std::fs::read_to_string(vendors.rack.appliance.state().join("admin.token"))?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
        .build()?;
    let base = format!("{}/api/v1/machines/dell/bmc", vendors.rack.appliance.web());
    let cookie = format!("__Host-metalman={}", token.trim());
    let put = || client.put(format!("{base}/indicator"));
    let body = json!({ "state": "Blinking" });

    let with_cookie = put().header("cookie", &cookie).json(&body).send().await?;
    ensure!(with_cookie.status() == 401, "{}", with_cookie.status());
    let without = put().json(&body).send().await?;
    ensure!(without.status() == 401, "{}", without.status());
    let read = client.get(&base).header("cookie", &cookie).send().await?;
    ensure!(read.status() == 200, "{}", read.status());
    let wrong = put()
        .bearer_auth(token.trim())
        .json(&json!({ "state": "Disco" }));
    let wrong = wrong.send().await?;
    ensure!(wrong.status() == 400, "{}", wrong.status());
    ensure!(vendors.json(&["show", "dell"])?["indicator"] == false);
    let good = put().bearer_auth(token.trim()).json(&body).send().await?;
    ensure!(good.status() == 200, "{}", good.status());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_says_why() -> Result<()> {
    let vendors = Vendors::start(&["dell"]).await?;
    let unknown = vendors.refusal(&["show", "nobody"])?;
    ensure!(unknown.contains("has no Machine nobody"), "{unknown}");
    vendors
        .rack
        .apply_machine("bare", json!({ "redfish": null, "dhcpLeases": null }))
        .await?;
    wait::until("the machine without a BMC to be known", async || {
        let said = vendors.refusal(&["sel", "bare"]).ok()?;
        said.contains("set spec.pxe.redfish").then_some(())
    })
    .await?;

    let bmc = vendors.bmc("dell")?;
    bmc.set_door(Door::Refused);
    let mut said = String::new();
    for _ in 0..4 {
        said = vendors.refusal(&["console-url", "dell"])?;
    }
    ensure!(
        said.contains("times in a row") && said.contains("BMCUnreachable"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_is_tried_once_whoever_asks() -> Result<()> {
    let vendors = Vendors::start(&["hpe"]).await?;
    let bmc = vendors.bmc("hpe")?;
    bmc.set_password("something else");
    bmc.clear_sessions();
    bmc.clear_counters();
    for _ in 0..3 {
        let said = vendors.refusal(&["show", "hpe"])?;
        ensure!(
            said.contains("unbounded-system/bmc") && said.contains("Unauthorized"),
            "{said}"
        );
    }
    let wrong = bmc.counters().logins_refused;
    ensure!(wrong <= 1, "{wrong} wrong passwords were sent");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_is_asked_to_shut_down_before_power_is_cut() -> Result<()> {
    let vendors = Vendors::start(&["dell"]).await?;
    let bmc = vendors.bmc("dell")?;
    let resets = || bmc.counters().resets;
    vendors.rack.operate("off", "HostPowerOff", "dell").await?;
    vendors.rack.ends("off", Phase::Complete).await?;
    ensure!(
        resets().get("GracefulShutdown") == Some(&1),
        "{:?}",
        resets()
    );
    ensure!(!resets().contains_key("ForceOff"), "{:?}", resets());

    vendors.rack.operate("on", "HostPowerOn", "dell").await?;
    vendors.rack.ends("on", Phase::Complete).await?;
    // An operating system that does not listen.
    bmc.add_fault(Fault {
        method: Some("POST".into()),
        path: Some("*ComputerSystem.Reset".into()),
        times: Some(1),
        ignore: true,
        ..Fault::default()
    });
    vendors
        .rack
        .operate("again", "HostPowerOff", "dell")
        .await?;
    vendors.rack.ends("again", Phase::Complete).await?;
    ensure!(resets().get("ForceOff") == Some(&1), "{:?}", resets());
    let timeline = vendors.rack.appliance.run(&["timeline", "dell"])?;
    ensure!(
        timeline.contains("asked to shut down") && timeline.contains("it did not shut down"),
        "{timeline}"
    );
    Ok(())
}
