//! Claiming the installation: facts against a plan.
//!
//! Invariant: a refusal is final, everything else is tried again within a bound.

use std::thread;
use std::time::Duration;

use metalman_api::install::{InstallClaim, InstallPlan, Refusal};
use tracing::warn;
use ureq::http::StatusCode;

use super::error::{InstallError, chain};
use crate::backoff::Backoff;
use crate::client::{Answer, Client};

/// About ten minutes: the appliance may be restarting.
pub const CLAIM_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(15),
    tries: 44,
};
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Posts the claim until it is answered.
///
/// # Errors
/// The claim is refused, or was not answered in all tries.
pub fn claim(
    client: &Client,
    url: &str,
    message: &InstallClaim,
    backoff: Backoff,
) -> Result<InstallPlan, InstallError> {
    let mut last = "no try was made".to_owned();
    let mut asked_wait = None;
    let mut try_number = 0;
    while let Some(wait) = backoff.before(try_number) {
        thread::sleep(asked_wait.take().unwrap_or(wait));
        try_number += 1;
        match client.post(url, message) {
            Ok(answer) => match decide(&answer) {
                Step::Granted(plan) => return Ok(*plan),
                Step::Refused(message) => return Err(InstallError::ClaimRefused { message }),
                Step::Later(after) => {
                    last = format!("status {}", answer.status);
                    asked_wait = after;
                }
            },
            Err(error) => last = chain(&error),
        }
        warn!(error = %last, "claim not answered, try {try_number} of {}", backoff.tries);
    }
    Err(InstallError::ClaimRefused {
        message: format!("no answer in {} tries: {last}", backoff.tries),
    })
}

#[derive(Debug, PartialEq)]
enum Step {
    Granted(Box<InstallPlan>),
    Refused(String),
    Later(Option<Duration>),
}

fn decide(answer: &Answer) -> Step {
    if answer.status == StatusCode::OK {
        return match serde_json::from_slice(&answer.body) {
            Ok(plan) => Step::Granted(Box::new(plan)),
            Err(error) => Step::Refused(format!(
                "the plan is not understood by agent {}: {error}",
                crate::VERSION
            )),
        };
    }
    let is_passing = answer.status.is_server_error()
        || answer.status == StatusCode::REQUEST_TIMEOUT
        || answer.status == StatusCode::TOO_MANY_REQUESTS;
    if is_passing {
        return Step::Later(answer.retry_after.map(|wait| wait.min(LONGEST_RETRY_AFTER)));
    }
    Step::Refused(match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(refusal) => format!("{}: {}", refusal.reason, refusal.message),
        Err(_) => format!("status {}", answer.status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: StatusCode, retry_after: Option<u64>, body: &str) -> Answer {
        let retry_after = retry_after.map(Duration::from_secs);
        Answer {
            status,
            retry_after,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_busy_appliance_is_asked_again_when_it_says() {
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(
            decide(&answer(busy, Some(5), "")),
            Step::Later(Some(Duration::from_secs(5)))
        );
        assert_eq!(
            decide(&answer(busy, Some(9999), "")),
            Step::Later(Some(LONGEST_RETRY_AFTER))
        );
        assert_eq!(
            decide(&answer(StatusCode::TOO_MANY_REQUESTS, None, "")),
            Step::Later(None)
        );
    }

    #[test]
    fn a_refusal_carries_the_reason_of_the_appliance() {
        let body = r#"{"reason":"TokenExpired","message":"ask again"}"#;
        assert_eq!(
            decide(&answer(StatusCode::GONE, None, body)),
            Step::Refused("TokenExpired: ask again".into())
        );
        assert_eq!(
            decide(&answer(StatusCode::NOT_FOUND, None, "<html>")),
            Step::Refused("status 404 Not Found".into())
        );
        assert!(matches!(
            decide(&answer(StatusCode::OK, None, "{}")),
            Step::Refused(_)
        ));
    }
}
