//! The admin plane of bmcsim.

use anyhow::{Context as _, Result};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// A running fleet.
#[derive(Debug, Clone)]
pub struct Fleet {
    client: reqwest::Client,
    /// `http://HOST:PORT`.
    admin: String,
}

/// One Redfish request that a BMC has answered.
#[derive(Debug, Clone, Deserialize)]
pub struct Call {
    /// When, RFC 3339.
    pub at: String,
    /// Which BMC.
    pub bmc: String,
    /// `POST`.
    pub method: String,
    /// `/redfish/v1/…`.
    pub path: String,
}

/// One change of power.
#[derive(Debug, Clone, Deserialize)]
pub struct PowerEvent {
    /// When, RFC 3339.
    pub at: String,
    /// Which BMC.
    pub bmc: String,
    /// `On`, `Off`, `Restart` or `Failed`.
    pub kind: String,
}

/// Calls and power history, in the order of time.
#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    /// Requests.
    pub calls: Vec<Call>,
    /// Power history.
    pub power: Vec<PowerEvent>,
}

/// What the BMCs have counted.
#[derive(Debug, Clone, Deserialize)]
pub struct Counters {
    /// All together.
    pub total: Totals,
    /// Sessions that are open.
    pub sessions_left: u64,
}

/// Figures of all BMCs together.
#[derive(Debug, Clone, Deserialize)]
pub struct Totals {
    /// Requests answered.
    pub requests: u64,
}

impl Fleet {
    /// `admin` is `http://HOST:PORT`; nothing is sent.
    pub fn new(admin: &str) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self {
            client,
            admin: admin.trim_end_matches('/').to_owned(),
        })
    }

    /// Figures since the last [`Self::clear`].
    pub async fn counters(&self) -> Result<Counters> {
        self.get("counters").await
    }

    /// Calls and power changes since the last [`Self::clear`].
    pub async fn log(&self) -> Result<Log> {
        self.get("log").await
    }

    /// Sessions that are open, of all BMCs.
    pub async fn sessions(&self) -> Result<u64> {
        let bmcs: Vec<Value> = self.get("bmcs").await?;
        Ok(bmcs.iter().filter_map(|bmc| bmc["sessions"].as_u64()).sum())
    }

    /// Forgets log and figures.
    pub async fn clear(&self) -> Result<()> {
        for what in ["log", "counters"] {
            let url = format!("{}/{what}/clear", self.admin);
            self.client.post(url).send().await?.error_for_status()?;
        }
        Ok(())
    }

    /// How one BMC meets connections from now on, such as `half-open`.
    pub async fn door(&self, bmc: &str, door: &str) -> Result<()> {
        let url = format!("{}/door?bmc={bmc}", self.admin);
        let request = self.client.put(url).json(&door);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T> {
        let answer = self.client.get(format!("{}/{what}", self.admin)).send();
        let answer = answer.await?.error_for_status()?;
        let read = answer.json().await;
        read.with_context(|| format!("{what} of {}", self.admin))
    }
}
