//! `metalman bmc …` against a running appliance and simulated BMCs of several vendors: what an
//! operator sees, and that no command ever opens a second session.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bmcsim::{Bmc, BmcConfig, Config, Door, Fault, Profile, Running};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use metalman::store::Store;
use metalman_api::machine::{Machine, RedfishStatus};
use metalman_tests::{rack::Rack, wait};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse";

/// An appliance, and one machine per vendor with its name.
struct Vendors {
    rack: Rack,
    bmcs: Vec<(String, Arc<Bmc>)>,
    simulators: Vec<Running>,
}

impl Vendors {
    async fn start(profiles: &[&str]) -> Result<Self> {
        let mut vendors = Self {
            rack: Rack::start().await?,
            bmcs: Vec::new(),
            simulators: Vec::new(),
        };
        for (number, profile) in profiles.iter().enumerate() {
            vendors.add(profile, number).await?;
        }
        Ok(vendors)
    }

    async fn add(&mut self, profile: &str, number: usize) -> Result<()> {
        let mut config = BmcConfig::memory(profile, PASSWORD);
        config.profile = Profile::named(profile).context(profile.to_owned())?;
        config.system_id.clone_from(&config.profile.system_id);
        config.powered_on = true;
        let simulator = bmcsim::start(Config {
            admin: None,
            bmcs: vec![config],
        })
        .await?;
        let (address, bmc) = simulator.bmcs().first().cloned().context("one BMC")?;
        let changes = json!({
            "dhcpLeases": [{
                "mac": format!("52:54:00:88:00:{number:02x}"),
                "ipv4": format!("127.0.1.{}", number + 1),
                "subnetMask": "255.0.0.0",
            }],
            "redfish": { "url": format!("https://{address}"), "deviceID": null },
        });
        self.rack.apply_machine(profile, changes).await?;
        self.bmcs.push((profile.to_owned(), bmc));
        self.simulators.push(simulator);
        Ok(())
    }

    fn bmc(&self, name: &str) -> Result<&Bmc> {
        let found = self.bmcs.iter().find(|(known, _)| known == name);
        found.map(|(_, bmc)| &**bmc).context(name.to_owned())
    }

    /// `metalman bmc ARGUMENTS`.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let web = self.rack.appliance.web();
        let arguments = [&["bmc"], arguments, &["--server", &web]].concat();
        self.rack.appliance.run(&arguments)
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.ask(&[arguments, &["--output", "json"]].concat())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// A page of the JSON API.
    async fn web(&self, path: &str) -> Result<Value> {
        let state = self.rack.appliance.state();
        let ca = std::fs::read(state.join("api/ca.crt"))?;
        let token = std::fs::read_to_string(state.join("admin.token"))?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
            .build()?;
        let request = client.get(format!("{}{path}", self.rack.appliance.web()));
        let answer = request.bearer_auth(token.trim()).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Changes a Machine.
    async fn patch(&self, machine: &str, change: Value) -> Result<()> {
        let api: Api<Machine> = Api::all(self.rack.client.0.clone());
        let patch = Patch::Merge(change);
        api.patch(machine, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// What a command says when it fails.
    fn refusal(&self, arguments: &[&str]) -> Result<String> {
        match self.ask(arguments) {
            Ok(answer) => anyhow::bail!("{arguments:?} did not fail: {answer}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}

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

/// The status of a Machine's BMC, once it is as wanted.
async fn redfish_status(
    vendors: &Vendors,
    machine: &str,
    wanted: impl Fn(&RedfishStatus) -> bool,
) -> Result<RedfishStatus> {
    let what = format!("the BMC status of {machine}");
    let found = wait::until(&what, async || {
        let found = vendors.rack.machine(machine).await.ok()?.status?.redfish?;
        wanted(&found).then_some(found)
    });
    found.await.with_context(|| vendors.rack.appliance.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_reach_the_status_and_only_changes_are_written() -> Result<()> {
    let vendors = Vendors::start(&["dell"]).await?;
    let status = redfish_status(&vendors, "dell", |found| found.health.is_some()).await?;
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
    redfish_status(&vendors, "dell", |found| {
        found.health.as_deref() == Some("Critical")
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_refused_until_an_operator_pins_it() -> Result<()> {
    let vendors = Vendors::start(&["hpe"]).await?;
    let old = redfish_status(&vendors, "hpe", |found| found.cert_fingerprint.is_some()).await?;
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
    let new = redfish_status(&vendors, "hpe", |found| {
        found.cert_fingerprint.as_ref() != Some(&old)
    })
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
    let status = redfish_status(&vendors, "dell", |found| found.cert_fingerprint.is_some()).await?;
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
