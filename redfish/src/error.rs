//! The one error type of the crate: a variant per different reaction of the caller.
//!
//! Texts name the operation and its object; causes are `source()` and never repeated in the text.

use std::time::Duration;

use crate::boot::{BootOverride, BootSourceOverrideTarget};
use crate::operation::Operation;
use crate::power::ResetType;
use crate::tls::Fingerprint;

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
        source: reqwest::Error,
    },

    /// No answer in time. A write may or may not have happened.
    #[error("BMC {bmc} did not answer {operation} in time")]
    TimedOut {
        bmc: String,
        operation: Operation,
        #[source]
        source: reqwest::Error,
    },

    /// The connection broke before the answer was complete. A write may or may not have happened.
    #[error("BMC {bmc} broke the connection during {operation}")]
    ConnectionLost {
        bmc: String,
        operation: Operation,
        #[source]
        source: reqwest::Error,
    },

    /// The leaf certificate is not the pinned one.
    #[error("certificate of the BMC is {found}, pinned is {pinned}")]
    CertificateMismatch {
        pinned: Fingerprint,
        found: Fingerprint,
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
    #[error("BMC accepted boot override {wanted} and then reported {found}")]
    NotApplied {
        wanted: BootOverride,
        found: BootOverride,
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

impl Error {
    /// Bounded, CamelCase reason for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidConfig { .. } => "InvalidConfig",
            Self::Unreachable { .. } => "BMCUnreachable",
            Self::TimedOut { .. } => "BMCTimedOut",
            Self::ConnectionLost { .. } => "BMCConnectionLost",
            Self::CertificateMismatch { .. } => "CertificateMismatch",
            Self::Unauthorized { .. } => "Unauthorized",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::SessionLimit { .. } => "SessionLimit",
            Self::Busy { .. } => "BMCBusy",
            Self::NotFound { .. } => "ResourceNotFound",
            Self::Unsupported { .. } => "Unsupported",
            Self::Rejected { .. } => "Rejected",
            Self::ServerFault { .. } => "BMCFault",
            Self::Redirected { .. } => "Redirected",
            Self::BodyTooLarge { .. } | Self::InvalidResponse { .. } => "InvalidResponse",
            Self::NoBootableSystem { .. } => "NoBootableSystem",
            Self::AmbiguousSystem { .. } => "AmbiguousSystem",
            Self::SystemNotFound { .. } => "SystemNotFound",
            Self::ResetUnsupported { .. } => "ResetUnsupported",
            Self::BootUnsupported { .. } => "BootUnsupported",
            Self::NotApplied { .. } => "NotApplied",
            Self::PowerUnchanged { .. } => "PowerUnchanged",
            Self::TaskFailed { .. } => "TaskFailed",
            Self::TaskTimedOut { .. } => "TaskTimedOut",
        }
    }

    /// Whether the same call may work later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::ConnectionLost { .. }
            | Self::SessionLimit { .. }
            | Self::Busy { .. }
            | Self::ServerFault { .. }
            | Self::BodyTooLarge { .. }
            | Self::InvalidResponse { .. }
            | Self::NotApplied { .. }
            | Self::PowerUnchanged { .. }
            | Self::TaskFailed { .. }
            | Self::TaskTimedOut { .. } => true,
            Self::InvalidConfig { .. }
            | Self::CertificateMismatch { .. }
            | Self::Unauthorized { .. }
            | Self::AccessDenied { .. }
            | Self::NotFound { .. }
            | Self::Unsupported { .. }
            | Self::Rejected { .. }
            | Self::Redirected { .. }
            | Self::NoBootableSystem { .. }
            | Self::AmbiguousSystem { .. }
            | Self::SystemNotFound { .. }
            | Self::ResetUnsupported { .. }
            | Self::BootUnsupported { .. } => false,
        }
    }

    /// Whether a write may have taken effect although it is reported as failed. The caller must
    /// look at the machine before it writes again.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::TimedOut { operation, .. }
            | Self::ConnectionLost { operation, .. }
            | Self::ServerFault { operation, .. }
            | Self::BodyTooLarge { operation, .. }
            | Self::InvalidResponse { operation, .. } => operation.is_write(),
            Self::NotApplied { .. }
            | Self::PowerUnchanged { .. }
            | Self::TaskFailed { .. }
            | Self::TaskTimedOut { .. } => true,
            Self::InvalidConfig { .. }
            | Self::Unreachable { .. }
            | Self::CertificateMismatch { .. }
            | Self::Unauthorized { .. }
            | Self::AccessDenied { .. }
            | Self::SessionLimit { .. }
            | Self::Busy { .. }
            | Self::NotFound { .. }
            | Self::Unsupported { .. }
            | Self::Rejected { .. }
            | Self::Redirected { .. }
            | Self::NoBootableSystem { .. }
            | Self::AmbiguousSystem { .. }
            | Self::SystemNotFound { .. }
            | Self::ResetUnsupported { .. }
            | Self::BootUnsupported { .. } => false,
        }
    }

    /// How long the BMC asked to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::SessionLimit { retry_after, .. }
        | Self::Busy { retry_after, .. }
        | Self::ServerFault { retry_after, .. } = self
        {
            *retry_after
        } else {
            None
        }
    }
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
