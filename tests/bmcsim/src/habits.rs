//! Bad habits of a machine, switched on and off at run time: what it does besides what it is told.

use serde::{Deserialize, Serialize};

/// All off is a machine that keeps its word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Habits {
    /// Takes a boot override, shows it, and boots in the firmware's own order.
    pub ignores_override: bool,
    /// Goes on showing a one-time override after the boot that used it.
    pub keeps_override: bool,
    /// Accepts resets with 204 and does nothing.
    pub ignores_resets: bool,
    /// Shows this as `PowerState`, whatever the power is.
    pub shows_power: Option<String>,
}
