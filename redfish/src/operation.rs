//! What the client was doing, for error texts and bounded metric labels.
//!
//! Not the HTTP request: several requests may serve one operation.

use std::fmt;

/// One thing a [`crate::Client`] does with a BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    ReadServiceRoot,
    Login,
    Logout,
    ListSystems,
    ReadSystem,
    ReadActionInfo,
    ReadSettings,
    Reset,
    SetBootOverride,
    ClearBootOverride,
    FollowTask,
}

impl Operation {
    /// Stable label for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::ReadServiceRoot => "read_service_root",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::ListSystems => "list_systems",
            Self::ReadSystem => "read_system",
            Self::ReadActionInfo => "read_action_info",
            Self::ReadSettings => "read_settings",
            Self::Reset => "reset",
            Self::SetBootOverride => "set_boot_override",
            Self::ClearBootOverride => "clear_boot_override",
            Self::FollowTask => "follow_task",
        }
    }

    /// Whether a request of this operation changes the machine.
    pub fn is_write(self) -> bool {
        match self {
            Self::Reset | Self::SetBootOverride | Self::ClearBootOverride => true,
            Self::ReadServiceRoot
            | Self::Login
            | Self::Logout
            | Self::ListSystems
            | Self::ReadSystem
            | Self::ReadActionInfo
            | Self::ReadSettings
            | Self::FollowTask => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadServiceRoot => "reading the service root",
            Self::Login => "logging in",
            Self::Logout => "logging out",
            Self::ListSystems => "listing the systems",
            Self::ReadSystem => "reading the system",
            Self::ReadActionInfo => "reading the reset types",
            Self::ReadSettings => "reading the pending settings",
            Self::Reset => "the reset action",
            Self::SetBootOverride => "setting the boot override",
            Self::ClearBootOverride => "clearing the boot override",
            Self::FollowTask => "following a task",
        })
    }
}
