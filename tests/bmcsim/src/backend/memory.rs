//! A machine that is only state, with delays where asked for.
//!
//! It obeys the power button after one more delay and never does anything by itself.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Backend, GuestEvent};
use crate::boot::BootChoice;

/// The memory back-end.
#[derive(Debug)]
pub struct Memory {
    transition: Duration,
    off_at: Option<Instant>,
}

impl Memory {
    /// A machine that takes `transition` to turn on, to turn off and to obey the power button.
    pub fn new(transition: Duration) -> Self {
        Self {
            transition,
            off_at: None,
        }
    }
}

#[async_trait]
impl Backend for Memory {
    async fn prepare(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn launch(&mut self, _boot: BootChoice) -> anyhow::Result<()> {
        self.off_at = None;
        sleep(self.transition).await;
        Ok(())
    }

    async fn kill(&mut self) {
        self.off_at = None;
        sleep(self.transition).await;
    }

    async fn press_power(&mut self) {
        self.off_at = Some(Instant::now() + self.transition);
    }

    async fn next_event(&mut self) -> GuestEvent {
        match self.off_at {
            Some(at) => {
                sleep_until(at).await;
                self.off_at = None;
                GuestEvent::Shutdown
            }
            None => std::future::pending().await,
        }
    }
}
