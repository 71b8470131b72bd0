//! How a person gets at the machine's screen, and how many are logged in to its BMC.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Client;
use crate::error::Error;
use crate::model::{Console, members};
use crate::operation::Operation;
use crate::quirks;

/// The consoles of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consoles {
    /// Page of the BMC's web interface that leads to the graphical console.
    pub url: String,
    pub graphical: Option<Console>,
    pub serial: Option<Console>,
}

impl Client {
    /// The consoles that system or manager offer. The standard names no page for them, so the
    /// page is the vendor's documented one, or the web interface itself.
    pub async fn consoles(&self) -> Result<Consoles, Error> {
        let system = self.raw_system().await?;
        let (mut graphical, mut serial) = (system.graphical_console, system.serial_console);
        if graphical.is_none() || serial.is_none() {
            let manager = self.manager().await?;
            graphical = graphical.or(manager.graphical_console);
            serial = serial.or(manager.serial_console);
        }
        let page = quirks::console_page(self.platform().await?);
        Ok(Consoles {
            url: self.transport.page(page),
            graphical,
            serial,
        })
    }

    /// How many sessions are open on the BMC, ours included; `None` if it has no sessions.
    pub async fn session_count(&self) -> Result<Option<usize>, Error> {
        let root = self.service_root().await?;
        let Some(path) = root.sessions.clone() else {
            return Ok(None);
        };
        let Some(list) = self.try_get(Operation::ReadSessions, &path).await? else {
            return Ok(None);
        };
        let told = list.body.get("Members@odata.count").and_then(Value::as_u64);
        Ok(Some(
            told.and_then(|count| usize::try_from(count).ok())
                .unwrap_or_else(|| members(&list.body).len()),
        ))
    }
}
