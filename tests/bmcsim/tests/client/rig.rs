//! One simulated BMC and clients of it.

use std::sync::Arc;
use std::time::Duration;

use bmcsim::{Bmc, BmcConfig, Config, Power, PowerKind, Profile, Running};
use redfish::{Client, ClientConfig, Timeouts, TlsTrust};
use secrecy::SecretString;

pub(crate) struct Rig {
    pub(crate) running: Running,
    pub(crate) bmc: Arc<Bmc>,
    pub(crate) url: url::Url,
}

impl Rig {
    pub(crate) async fn new(profile: Profile) -> Self {
        let bmc = BmcConfig {
            system_id: profile.system_id.clone(),
            profile,
            ..BmcConfig::memory("bmc-1", "right")
        };
        let running = bmcsim::start(Config {
            admin: None,
            bmcs: vec![bmc],
        })
        .await
        .unwrap();
        let (address, bmc) = running.bmcs()[0].clone();
        Self {
            running,
            bmc,
            url: format!("https://{address}").parse().unwrap(),
        }
    }

    pub(crate) async fn named(profile: &str) -> Self {
        Self::new(Profile::named(profile).unwrap()).await
    }

    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig {
            base: self.url.clone(),
            username: "admin".into(),
            password: SecretString::from("right"),
            system_id: None,
            trust: TlsTrust::FirstUse,
            timeouts: Timeouts {
                request: Duration::from_secs(10),
                read_back: Duration::from_millis(200),
                task: Duration::from_secs(5),
                power: Duration::from_secs(5),
                poll: Duration::from_millis(10),
                ..Timeouts::default()
            },
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.config()).unwrap()
    }

    /// `method path` of every call, shortened.
    pub(crate) fn calls(&self) -> Vec<String> {
        let log = self.bmc.log();
        log.calls
            .iter()
            .map(|call| {
                format!(
                    "{} {}",
                    call.method,
                    call.path.trim_start_matches("/redfish/v1")
                )
            })
            .collect()
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.calls().iter().filter(|made| *made == call).count()
    }

    pub(crate) fn boots(&self) -> Vec<(PowerKind, String)> {
        self.bmc
            .log()
            .power
            .iter()
            .map(|event| (event.kind, event.cause.clone()))
            .collect()
    }

    pub(crate) async fn wait(&self, power: Power) {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        let reached = async {
            while self.bmc.power() != power {
                tick.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .expect("power in time");
    }
}

pub(crate) const LOGIN: &str = "POST /SessionService/Sessions";
