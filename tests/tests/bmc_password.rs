//! The password of a BMC's account is changed together with its Secret, and whatever breaks the change
//! off, the appliance gets in again with at most one wrong attempt.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bmcsim::{Cut, Fault};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use metalman_tests::{
    vendors::{PASSWORD, Vendors},
    wait,
};
use serde_json::json;

/// A machine with a Secret of its own, and its values.
struct Alone {
    vendors: Vendors,
    secrets: Api<Secret>,
}

impl Alone {
    async fn start(profile: &str) -> Result<Self> {
        let vendors = Vendors::start(&[profile]).await?;
        let secrets: Api<Secret> =
            Api::namespaced(vendors.rack.client.0.clone(), "unbounded-system");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "own" },
            "stringData": { "password": PASSWORD },
        });
        let secret = serde_json::from_value(secret)?;
        secrets.create(&PostParams::default(), &secret).await?;
        let reference = json!({ "name": "own" });
        let change = json!({ "spec": { "pxe": { "redfish": { "passwordRef": reference } } } });
        vendors.patch(profile, change).await?;
        let alone = Self { vendors, secrets };
        wait::until("the Secret to be used", async || {
            let machine = alone.vendors.rack.machine(profile).await.ok()?;
            let conditions = machine.status?.conditions;
            let ready = conditions.iter().find(|c| c.type_ == "RedfishReady")?;
            (ready.status == "True").then_some(())
        })
        .await?;
        Ok(alone)
    }

    async fn values(&self) -> Result<BTreeMap<String, String>> {
        let data = self.secrets.get("own").await?.data.unwrap_or_default();
        let text = |bytes: ByteString| String::from_utf8(bytes.0);
        data.into_iter()
            .map(|(key, bytes)| Ok((key, text(bytes)?)))
            .collect()
    }

    async fn write(&self, values: serde_json::Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "stringData": values }));
        let params = PatchParams::default();
        self.secrets.patch("own", &params, &patch).await?;
        Ok(())
    }

    /// Waits until the Secret holds this password and nothing else.
    async fn settles_at(&self, password: &str) -> Result<()> {
        let settled = wait::until("the Secret to be settled", async || {
            let values = self.values().await.ok()?;
            (values.len() == 1 && values.get("password")? == password).then_some(())
        });
        settled
            .await
            .with_context(|| self.vendors.rack.appliance.log())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_with_its_secret_and_never_refused() -> Result<()> {
    for profile in ["dell", "hpe"] {
        let alone = Alone::start(profile).await?;
        let bmc = alone.vendors.bmc(profile)?;
        let told = alone
            .vendors
            .ask(&["set-password", profile, "--generate"])?;
        ensure!(told.contains("unbounded-system/own/password"), "{told}");
        let values = alone.values().await?;
        let new = values.get("password").context("a password")?;
        ensure!(new != PASSWORD && new.len() == 20, "{values:?}");
        ensure!(!told.contains(new.as_str()), "it is not printed");
        ensure!(values.len() == 1, "nothing is pending: {values:?}");
        let report = alone.vendors.json(&["show", profile])?;
        ensure!(report["system"]["power"] == "On", "{report}");
        let counters = bmc.counters();
        ensure!(counters.logins_refused == 0, "{counters:?}");
        ensure!(bmc.sessions().len() <= 1, "{:?}", bmc.sessions());
        let log = alone.vendors.rack.appliance.log();
        ensure!(!log.contains(new.as_str()), "it is not logged");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_broken_off_is_settled_either_way() -> Result<()> {
    // What the BMC took; how often a password is refused until that is known.
    for (taken, refused) in [("brand new", 0), (PASSWORD, 1)] {
        let mut alone = Alone::start("dell").await?;
        alone.vendors.rack.appliance.kill()?;
        let bmc = alone.vendors.bmc("dell")?;
        bmc.set_password(taken);
        bmc.clear_sessions();
        bmc.clear_counters();
        // The appliance died between its two writes; the API went with it.
        alone.vendors.rack.appliance.restart().await?;
        alone
            .write(json!({ "password.pending": "brand new" }))
            .await?;
        alone.settles_at(taken).await?;
        alone.vendors.json(&["show", "dell"])?;
        let counters = alone.vendors.bmc("dell")?.counters();
        ensure!(counters.logins_refused <= refused + 1, "{counters:?}");
        ensure!(counters.lockouts == 0, "{counters:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appliance_that_is_killed_during_a_change_finishes_it_by_itself() -> Result<()> {
    for is_taken in [true, false] {
        let mut alone = Alone::start("dell").await?;
        let bmc = alone.vendors.bmc("dell")?;
        // Long enough for a kill, whatever the BMC does afterwards.
        bmc.add_fault(Fault {
            method: Some("PATCH".into()),
            path: Some("*/Accounts/*".into()),
            times: Some(1),
            delay_ms: 600_000,
            ..Fault::default()
        });
        let pending = async || {
            let values = alone.values().await.ok()?;
            values.get("password.pending").cloned()
        };
        let ask = || alone.vendors.ask(&["set-password", "dell", "--generate"]);
        let (asked, pending) = std::thread::scope(|scope| {
            let asked = scope.spawn(ask);
            let pending = tokio::task::block_in_place(|| {
                let waited = wait::until("the pending password to be kept", pending);
                tokio::runtime::Handle::current().block_on(waited)
            });
            alone.vendors.rack.appliance.signal_kill()?;
            let asked = asked.join().map_err(|_| anyhow::anyhow!("it panicked"))?;
            anyhow::Ok((asked, pending?))
        })?;
        ensure!(asked.is_err(), "nobody answered it");
        alone.vendors.rack.appliance.kill()?;
        let bmc = alone.vendors.bmc("dell")?;
        if is_taken {
            bmc.set_password(&pending);
        }
        bmc.clear_sessions();
        bmc.clear_counters();
        alone.vendors.rack.appliance.restart().await?;
        let right = if is_taken { &pending } else { PASSWORD };
        alone.settles_at(right).await?;
        alone.vendors.json(&["show", "dell"])?;
        let counters = alone.vendors.bmc("dell")?.counters();
        ensure!(
            counters.logins_refused <= u64::from(!is_taken) && counters.lockouts == 0,
            "{is_taken}: {counters:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_leaves_the_password_that_the_bmc_took() -> Result<()> {
    let alone = Alone::start("dell").await?;
    let bmc = alone.vendors.bmc("dell")?;
    let lost = |cut| Fault {
        method: Some("PATCH".into()),
        path: Some("*/Accounts/*".into()),
        times: Some(1),
        cut: Some(cut),
        ..Fault::default()
    };
    bmc.add_fault(lost(Cut::After));
    alone.vendors.ask(&["set-password", "dell", "--generate"])?;
    let taken = alone.values().await?;
    ensure!(
        taken.len() == 1 && taken["password"] != PASSWORD,
        "{taken:?}"
    );
    ensure!(bmc.counters().logins_refused == 0, "{:?}", bmc.counters());

    bmc.add_fault(lost(Cut::Before));
    let said = alone
        .vendors
        .refusal(&["set-password", "dell", "--generate"])?;
    ensure!(said.contains("broke the connection"), "{said}");
    ensure!(alone.values().await? == taken, "the old one stays");
    let counters = bmc.counters();
    ensure!(
        counters.logins_refused <= 1 && counters.lockouts == 0,
        "{counters:?}"
    );
    alone.vendors.json(&["show", "dell"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_changed_is_refused_before_the_bmc_hears_of_it() -> Result<()> {
    let vendors = Vendors::start(&["dell"]).await?;
    let said = vendors.refusal(&["set-password", "dell", "--generate"])?;
    ensure!(
        said.contains("SecretShared") && said.contains("node-1"),
        "{said}"
    );

    let alone = Alone::start("hpe").await?;
    let bmc = alone.vendors.bmc("hpe")?;
    bmc.add_fault(Fault {
        method: Some("PATCH".into()),
        path: Some("*/Accounts/*".into()),
        status: Some(400),
        body: Some(
            json!({ "error": { "code": "Base.1.8.GeneralError", "message": "too simple" } }),
        ),
        ..Fault::default()
    });
    let said = alone
        .vendors
        .refusal(&["set-password", "hpe", "--generate"])?;
    ensure!(said.contains("too simple"), "{said}");
    alone.settles_at(PASSWORD).await?;
    ensure!(bmc.counters().logins_refused == 0, "{:?}", bmc.counters());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_somebody_changed_is_used_at_once() -> Result<()> {
    let alone = Alone::start("lenovo").await?;
    let bmc = alone.vendors.bmc("lenovo")?;
    bmc.set_password("by hand");
    bmc.clear_sessions();
    alone.write(json!({ "password": "by hand" })).await?;
    let began = std::time::Instant::now();
    wait::until("a login with the new password", async || {
        (bmc.sessions().len() == 1).then_some(())
    })
    .await
    .with_context(|| alone.vendors.rack.appliance.log())?;
    // Without the watch the old one would be used for a minute.
    ensure!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    let counters = bmc.counters();
    ensure!(counters.logins_refused <= 1, "{counters:?}");
    Ok(())
}
