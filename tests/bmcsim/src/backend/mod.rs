//! What a BMC turns on and off. Two implementations: memory, and a QEMU machine.
//!
//! A back-end knows no Redfish. It is owned by one machine task, so its methods never overlap.

mod memory;
mod qemu;

use std::fmt;

use async_trait::async_trait;

use crate::boot::BootChoice;

pub use memory::Memory;
pub use qemu::Qemu;

/// What a running machine does by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEvent {
    /// The guest reset itself; it is not running any more until it is launched again.
    Reset,
    /// The guest turned itself off.
    Shutdown,
    /// The machine ended in another way.
    Died(String),
}

impl GuestEvent {
    /// Words for the power history.
    pub(crate) fn cause(&self) -> &str {
        match self {
            Self::Reset => "guest reset",
            Self::Shutdown => "guest shutdown",
            Self::Died(why) => why,
        }
    }
}

/// A machine that can be turned on and off.
#[async_trait]
pub trait Backend: Send + fmt::Debug {
    /// Called once before anything else: ends what an earlier run left behind.
    async fn prepare(&mut self) -> anyhow::Result<()>;

    /// Starts the machine, which is off. One launch is one boot.
    async fn launch(&mut self, boot: BootChoice) -> anyhow::Result<()>;

    /// Cuts the power; returns when the machine is off. Nothing happens if it is off.
    async fn kill(&mut self);

    /// Presses the power button of a running machine; returns at once.
    async fn press_power(&mut self);

    /// The next thing the machine does by itself; pending while it is off. Cancel-safe.
    async fn next_event(&mut self) -> GuestEvent;
}
