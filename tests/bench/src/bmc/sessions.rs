//! How long it takes until every BMC of a fleet has a session.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Fleet;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until `bmcs` sessions are open; the time from the first request to the last login is what
/// the BMCs' own log says.
pub async fn wait(fleet: &Fleet, bmcs: u64, limit: Duration) -> Result<Value> {
    let deadline = Instant::now() + limit;
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let open = fleet.sessions().await?;
        if open >= bmcs {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{open} of {bmcs} BMCs have a session after {limit:?}"
        );
    }
    let log = fleet.log().await?;
    let at = |text: &str| -> Result<Timestamp> { Ok(text.parse()?) };
    let first = log.calls.first().context("no call in the log")?;
    let login = |call: &&super::fleet::Call| {
        call.method == "POST" && call.path.trim_end_matches('/').ends_with("/Sessions")
    };
    let last = log.calls.iter().rfind(login);
    let last = last.context("no login in the log")?;
    let took = at(&last.at)?.duration_since(at(&first.at)?);
    Ok(json!({
        "seconds": took.as_secs_f64(),
        "last_login_us": at(&last.at)?.as_microsecond(),
        "requests": log.calls.len(),
    }))
}
