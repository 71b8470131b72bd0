//! What is said about a BMC that could not be called: its address, what happened, the cure.

use jiff::Timestamp;

use super::BmcAccess;
use crate::domain::facts::Trouble;

pub(super) fn unauthorized(address: &str, access: &BmcAccess, at: Timestamp) -> Trouble {
    let message = format!(
        "refused user {} with the password of Secret {}; correct the Secret, it is not tried again until it changes",
        access.username, access.secret.name
    );
    trouble(address, "Unauthorized", &message, false, at)
}

pub(super) fn trouble(
    address: &str,
    reason: &str,
    what: &str,
    transient: bool,
    at: Timestamp,
) -> Trouble {
    Trouble {
        reason: reason.into(),
        message: format!("BMC {address}: {what}"),
        transient,
        at,
    }
}
