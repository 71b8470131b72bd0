//! A rack of machines of several vendors, and `metalman bmc` for them.

use std::sync::Arc;

use anyhow::{Context, Result};
use bmcsim::{Bmc, BmcConfig, Config, Profile, Running};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use metalman_api::machine::{Machine, RedfishStatus};
use serde_json::{Value, json};

use crate::{rack::Rack, wait};

/// Of every BMC.
pub const PASSWORD: &str = "correct horse";

/// An appliance, and one machine per vendor with its name.
#[derive(Debug)]
pub struct Vendors {
    /// The appliance, and a machine of no vendor.
    pub rack: Rack,
    bmcs: Vec<(String, Arc<Bmc>)>,
    simulators: Vec<Running>,
}

impl Vendors {
    /// Starts an appliance and a machine for each of these profiles.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(profiles: &[&str]) -> Result<Self> {
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

    /// The BMC of a machine.
    ///
    /// # Errors
    /// When there is none.
    pub fn bmc(&self, name: &str) -> Result<&Bmc> {
        let found = self.bmcs.iter().find(|(known, _)| known == name);
        found.map(|(_, bmc)| &**bmc).context(name.to_owned())
    }

    /// `metalman bmc ARGUMENTS`.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        let web = self.rack.appliance.web();
        let arguments = [&["bmc"], arguments, &["--server", &web]].concat();
        self.rack.appliance.run(&arguments)
    }

    /// The same with `--output json`.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.ask(&[arguments, &["--output", "json"]].concat())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// A page of the JSON API.
    ///
    /// # Errors
    /// When there is none.
    pub async fn web(&self, path: &str) -> Result<Value> {
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
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn patch(&self, machine: &str, change: Value) -> Result<()> {
        let api: Api<Machine> = Api::all(self.rack.client.0.clone());
        let patch = Patch::Merge(change);
        api.patch(machine, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// What a command says when it fails.
    ///
    /// # Errors
    /// When it does not fail.
    pub fn refusal(&self, arguments: &[&str]) -> Result<String> {
        match self.ask(arguments) {
            Ok(answer) => anyhow::bail!("{arguments:?} did not fail: {answer}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// The status of a Machine's BMC, once it is as wanted.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn redfish_status(
        &self,
        machine: &str,
        wanted: impl Fn(&RedfishStatus) -> bool,
    ) -> Result<RedfishStatus> {
        let what = format!("the BMC status of {machine}");
        let found = wait::until(&what, async || {
            let found = self.rack.machine(machine).await.ok()?.status?.redfish?;
            wanted(&found).then_some(found)
        });
        found.await.with_context(|| self.rack.appliance.log())
    }
}
