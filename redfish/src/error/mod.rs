//! The one error type of the crate: a variant per different reaction of the caller.
//!
//! Texts name the operation and its object; causes are `source()` and never repeated in the text.

mod reaction;

use std::time::Duration;

use crate::boot::BootSourceOverrideTarget;
use crate::operation::Operation;
use crate::power::ResetType;
use crate::trust::Fingerprint;
use crate::wire::WireError;

/// Why a call to a BMC did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work; nothing was sent.
    #[error("redfish client configuration: {what}")]
    InvalidConfig { what: String },

    /// No connection came about; nothing of the request was sent.
    #[error("BMC {bmc} could not be reached for {operation}")]
    Unreachable {
        bmc: String,
        operation: Operation,
        #[source]
        source: WireError,
    },

    /// No answer in time. A write may or may not have happened.
    #[error("BMC {bmc} did not answer {operation} in time")]
    TimedOut {
        bmc: String,
        operation: Operation,
        #[source]
        source: WireError,
    },

    /// The connection broke before the answer was complete. A write may or may not have happened.
    #[error("BMC {bmc} broke the connection during {operation}")]
    ConnectionLost {
        bmc: String,
        operation: Operation,
        #[source]
        source: WireError,
    },

    /// The leaf certificate is not the pinned one.
    #[error("certificate of the BMC is {found}, pinned is {pinned}")]
    CertificateMismatch {
        pinned: Fingerprint,
        found: Fingerprint,
    },

    /// No trusted authority issued the certificate for this BMC; nothing of the request was sent.
    #[error("certificate of BMC {bmc} is not trusted")]
    CertificateUntrusted {
        bmc: String,
        #[source]
        source: WireError,
    },

    /// The BMC refused user and password. This client does not try them again.
    #[error("BMC {bmc} refused user and password")]
    Unauthorized { bmc: String },

    /// The account is known but may not do this, or is locked.
    #[error("BMC denied {operation} to this account{}", detail(message))]
    AccessDenied {
        operation: Operation,
        message: String,
    },

    /// The account has to change its password before it may do anything else.
    #[error("BMC demands a new password for this account before {operation}")]
    PasswordChangeRequired {
        operation: Operation,
        /// Path of the account, if the BMC says it.
        account: Option<String>,
    },

    /// No account of this name can be seen by the one we use.
    #[error("BMC shows no account {username:?}")]
    AccountNotFound { username: String },

    /// All sessions of the BMC are taken.
    #[error("BMC has no free session{}", detail(message))]
    SessionLimit {
        retry_after: Option<Duration>,
        message: String,
    },

    /// 429 or 503.
    #[error("BMC is too busy for {operation} (HTTP {status}){}", detail(message))]
    Busy {
        operation: Operation,
        status: u16,
        retry_after: Option<Duration>,
        message: String,
    },

    /// 404 or 410.
    #[error("BMC has no {path} for {operation}{}", detail(message))]
    NotFound {
        operation: Operation,
        path: String,
        message: String,
    },

    /// 405 or 501: the service does not offer it.
    #[error("BMC does not support {operation} (HTTP {status}){}", detail(message))]
    Unsupported {
        operation: Operation,
        status: u16,
        message: String,
    },

    /// Another refusal of a well-formed request.
    #[error("BMC refused {operation} (HTTP {status}){}", detail(message))]
    Rejected {
        operation: Operation,
        status: u16,
        message: String,
    },

    /// Another failure inside the BMC. A write may or may not have happened.
    #[error("BMC failed in {operation} (HTTP {status}){}", detail(message))]
    ServerFault {
        operation: Operation,
        status: u16,
        retry_after: Option<Duration>,
        message: String,
    },

    /// The BMC redirects; credentials are not carried along.
    #[error("BMC redirects {operation} to {location:?}")]
    Redirected {
        operation: Operation,
        location: String,
    },

    /// The answer is longer than the client reads.
    #[error("answer to {operation} is longer than {limit_bytes} bytes")]
    BodyTooLarge {
        operation: Operation,
        limit_bytes: usize,
    },

    /// The answer has a good status and unusable content.
    #[error("answer to {operation} is not usable: {what}")]
    InvalidResponse { operation: Operation, what: String },

    /// No system behind this address can be booted over Redfish.
    #[error("BMC shows no bootable system (found: {})", list(found))]
    NoBootableSystem { found: Vec<String> },

    /// Several bootable systems and none was named.
    #[error(
        "BMC shows several bootable systems, name one of: {}",
        list(candidates)
    )]
    AmbiguousSystem { candidates: Vec<String> },

    /// The named system does not exist.
    #[error("BMC has no system {wanted:?} (found: {})", list(found))]
    SystemNotFound { wanted: String, found: Vec<String> },

    /// Neither the reset type nor a documented substitute is offered.
    #[error("BMC offers no reset type for {wanted} (offered: {})", list(allowed))]
    ResetUnsupported {
        wanted: ResetType,
        allowed: Vec<ResetType>,
    },

    /// The boot target is not among those the BMC offers.
    #[error("BMC offers no boot target {wanted} (offered: {})", list(allowed))]
    BootUnsupported {
        wanted: BootSourceOverrideTarget,
        allowed: Vec<BootSourceOverrideTarget>,
    },

    /// The BMC accepted a setting, and reading it back shows something else.
    #[error("BMC accepted {setting} {wanted} and then reported {found}")]
    NotApplied {
        /// What was set, in words.
        setting: &'static str,
        wanted: String,
        found: String,
    },

    /// The power state did not become what a substitute sequence needs.
    #[error("BMC accepted {sent} and the machine did not turn off in time")]
    PowerUnchanged { sent: ResetType },

    /// A task ended badly.
    #[error("task of {operation} ended as {state}{}", detail(message))]
    TaskFailed {
        operation: Operation,
        state: String,
        message: String,
    },

    /// A task did not end in time. The write may still happen.
    #[error("task of {operation} did not end in time (last state {state})")]
    TaskTimedOut { operation: Operation, state: String },
}

fn detail(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
