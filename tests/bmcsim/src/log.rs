//! What was called and what the power did.
//!
//! Bounded: the oldest entries go first. Passwords are never in it.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::boot::BootChoice;

/// Entries kept of each list, unless said otherwise.
pub(crate) const LIMIT: usize = 20_000;

/// One Redfish request and what it was answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    pub at: Timestamp,
    pub bmc: String,
    pub method: String,
    pub path: String,
    /// `None` when the connection was cut without an answer.
    pub status: Option<u16>,
    /// Body of a write, except where it carries a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Whether a fault rule had a hand in it.
    pub fault: bool,
    pub duration_ms: u64,
}

/// What happened to the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum PowerKind {
    /// Off became on.
    On,
    /// On became off.
    Off,
    /// Stayed on and started anew: one more boot.
    Restart,
    /// A launch that failed.
    Failed,
}

/// One entry of the power history. Every `On` and every `Restart` is one boot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PowerEvent {
    pub at: Timestamp,
    pub bmc: String,
    pub kind: PowerKind,
    /// The reset type, or what the guest did.
    pub cause: String,
    /// What this boot starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootChoice>,
}

/// The log of one BMC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Log {
    pub calls: VecDeque<Call>,
    pub power: VecDeque<PowerEvent>,
    #[serde(skip)]
    limit: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self::keeping(LIMIT)
    }
}

impl Log {
    /// An empty log of at most this many calls and as many power events.
    pub(crate) fn keeping(limit: usize) -> Self {
        Self {
            calls: VecDeque::new(),
            power: VecDeque::new(),
            limit,
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::keeping(self.limit);
    }

    pub(crate) fn call(&mut self, call: Call) {
        if self.calls.len() >= self.limit {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    pub(crate) fn power(&mut self, event: PowerEvent) {
        if self.power.len() >= self.limit {
            self.power.pop_front();
        }
        self.power.push_back(event);
    }

    /// Joins the log of another BMC, in order of time.
    pub(crate) fn merge(&mut self, other: Self) {
        self.calls.extend(other.calls);
        self.power.extend(other.power);
        self.calls.make_contiguous().sort_by_key(|call| call.at);
        self.power.make_contiguous().sort_by_key(|event| event.at);
    }
}
