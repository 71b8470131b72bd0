//! How to react to an error: what it is called, whether to try again, and what somebody should do.

use std::time::Duration;

use super::Error;

impl Error {
    /// Bounded, CamelCase reason for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidConfig { .. } => "InvalidConfig",
            Self::Unreachable { .. } => "BMCUnreachable",
            Self::TimedOut { .. } => "BMCTimedOut",
            Self::ConnectionLost { .. } => "BMCConnectionLost",
            Self::CertificateMismatch { .. } => "CertificateMismatch",
            Self::CertificateUntrusted { .. } => "CertificateUntrusted",
            Self::Unauthorized { .. } => "Unauthorized",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::PasswordChangeRequired { .. } => "PasswordChangeRequired",
            Self::AccountNotFound { .. } => "AccountNotFound",
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
            | Self::CertificateUntrusted { .. }
            | Self::Unauthorized { .. }
            | Self::AccessDenied { .. }
            | Self::PasswordChangeRequired { .. }
            | Self::AccountNotFound { .. }
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
            | Self::CertificateUntrusted { .. }
            | Self::Unauthorized { .. }
            | Self::AccessDenied { .. }
            | Self::PasswordChangeRequired { .. }
            | Self::AccountNotFound { .. }
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

    /// What somebody should do about it; a full sentence for an operator.
    pub fn cure(&self) -> &'static str {
        match self {
            Self::InvalidConfig { .. } => "Correct the configuration of this BMC.",
            Self::Unreachable { .. } => {
                "Check the address, the cable and the firewall between here and the BMC; it is tried again."
            }
            Self::TimedOut { .. } | Self::ConnectionLost { .. } => {
                "The BMC is slow or overloaded; it is tried again. If this stays, restart the BMC."
            }
            Self::CertificateMismatch { .. } => {
                "If the BMC was replaced or got a new certificate, pin the new fingerprint explicitly; otherwise somebody else answers at its address."
            }
            Self::CertificateUntrusted { .. } => {
                "Install a certificate of the site's authority on the BMC, add the authority to the bundle, or pin the certificate."
            }
            Self::Unauthorized { .. } => {
                "Correct user or password; they are not tried again until they change."
            }
            Self::AccessDenied { .. } => {
                "Give the account administrator rights on the BMC, or unlock it."
            }
            Self::PasswordChangeRequired { .. } => "Change the password of the account on the BMC.",
            Self::AccountNotFound { .. } => "Name an account that exists on the BMC.",
            Self::SessionLimit { .. } => {
                "Close sessions on the BMC; other tools hold all of them. It is tried again."
            }
            Self::Busy { .. } => "The BMC asks for patience; it is tried again.",
            Self::NotFound { .. } | Self::Unsupported { .. } => {
                "The BMC does not offer this; newer BMC firmware may."
            }
            Self::Rejected { .. } => "Read the BMC's message; the same request will fail again.",
            Self::ServerFault { .. } | Self::BodyTooLarge { .. } | Self::InvalidResponse { .. } => {
                "The BMC misbehaves; it is tried again. If this stays, restart the BMC or update its firmware."
            }
            Self::Redirected { .. } => "Configure the address the BMC redirects to.",
            Self::NoBootableSystem { .. } => {
                "The address belongs to a device without a bootable system, or the machine's firmware has not reported yet: power it on once."
            }
            Self::AmbiguousSystem { .. } | Self::SystemNotFound { .. } => {
                "Set the device id to one of the listed systems."
            }
            Self::ResetUnsupported { .. } | Self::BootUnsupported { .. } => {
                "Choose what the BMC offers."
            }
            Self::NotApplied { .. } => {
                "The BMC takes the setting and drops it; it is tried again. Newer BMC firmware, or a machine that has finished its self-test, may keep it."
            }
            Self::PowerUnchanged { .. } => "Look at the machine: it did not follow its BMC.",
            Self::TaskFailed { .. } | Self::TaskTimedOut { .. } => {
                "Look at the task on the BMC; it is tried again."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;
    use crate::power::ResetType;

    #[test]
    fn reading_that_failed_never_acted() {
        let lost = |operation| Error::ServerFault {
            operation,
            status: 500,
            retry_after: None,
            message: String::new(),
        };
        assert!(!lost(Operation::ReadSystem).may_have_acted());
        assert!(lost(Operation::Reset).may_have_acted());
        assert!(lost(Operation::InsertMedia).is_transient());
    }

    #[test]
    fn every_cure_is_a_sentence() {
        let error = Error::PowerUnchanged {
            sent: ResetType::ForceOff,
        };
        assert!(error.cure().ends_with('.'));
        assert_eq!(error.reason(), "PowerUnchanged");
    }
}
