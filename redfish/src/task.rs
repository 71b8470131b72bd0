//! Following a 202 to its end.
//!
//! It does not know what the task does. Bounded by the task timeout; the pause between polls is the
//! BMC's Retry-After within limits.

use std::time::Duration;

use crate::client::Client;
use crate::error::Error;
use crate::model::{TaskOutcome, link, task_outcome};
use crate::operation::Operation;
use crate::session::Ask;
use crate::wire::Response;

/// Longest pause between two polls.
const PAUSE_LIMIT: Duration = Duration::from_secs(10);

/// Where the end of an accepted request can be learnt; `None` if the BMC does not say.
pub(crate) fn monitor(response: &Response) -> Option<String> {
    let header = response.header("location").map(ToOwned::to_owned);
    header
        .or_else(|| link(&response.body, "TaskMonitor"))
        .or_else(|| link(&response.body, "@odata.id"))
}

/// Waits for the end of what `accepted` began. An answer other than 202 is at its end already.
pub(crate) async fn follow(
    client: &Client,
    operation: Operation,
    accepted: &Response,
) -> Result<(), Error> {
    if accepted.status.as_u16() != 202 {
        return Ok(());
    }
    let Some(monitor) = monitor(accepted) else {
        return Ok(());
    };
    let timeouts = client.timeouts();
    let deadline = tokio::time::Instant::now() + timeouts.task;
    let mut pause = accepted.retry_after();
    loop {
        let wait = pause.unwrap_or(timeouts.poll).min(PAUSE_LIMIT);
        tokio::time::sleep(wait).await;
        let response = client
            .send_raw(&Ask::get(Operation::FollowTask, &monitor))
            .await?;
        let status = response.status.as_u16();
        pause = response.retry_after();
        let known = response.status.is_success() || matches!(status, 404 | 410);
        let state = if known {
            match task_outcome(status, &response.body) {
                TaskOutcome::Done => return Ok(()),
                TaskOutcome::Failed { state, message } => {
                    return Err(Error::TaskFailed {
                        operation,
                        state,
                        message,
                    });
                }
                // Changes for the next boot wait for it.
                TaskOutcome::Waiting { state } if operation == Operation::SetBios => {
                    tracing::debug!(state, "task waits for the next boot");
                    return Ok(());
                }
                TaskOutcome::Running { state } | TaskOutcome::Waiting { state } => state,
            }
        } else if matches!(status, 429 | 503) {
            "Unknown".to_owned()
        } else {
            // A monitor answers with the outcome of the action itself.
            return crate::call::check(operation, &http::Method::GET, &monitor, response).map(drop);
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(Error::TaskTimedOut { operation, state });
        }
    }
}
