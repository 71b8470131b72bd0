//! Waiting for a state.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Longest wait for a state.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer.
///
/// # Errors
/// After [`PATIENCE`], with what was awaited.
pub async fn until<T, F>(what: &str, ask: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(PAUSE);
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {PATIENCE:?} in vain for: {what}");
        }
        tick.tick().await;
    }
}
