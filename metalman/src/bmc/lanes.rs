//! How many BMCs are called at one time. BMCs that failed last have a lane of their own: however
//! many of them are silent, and however long their time-outs, the others do not wait for them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Share of the bound that doubtful BMCs may use together.
const DOUBTFUL_SHARE: usize = 8;

/// The two lanes.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    healthy: Arc<Semaphore>,
    doubtful: Arc<Semaphore>,
}

impl Lanes {
    /// At most `calls` to healthy BMCs at one time, and an eighth of it, at least two, to others.
    pub(super) fn new(calls: usize) -> Self {
        Self {
            healthy: Arc::new(Semaphore::new(calls.max(1))),
            doubtful: Arc::new(Semaphore::new((calls / DOUBTFUL_SHARE).max(2))),
        }
    }

    /// Waits for a place. The lanes are never closed; should they be, the call goes on without one.
    pub(super) async fn enter(&self, doubtful: bool) -> Option<OwnedSemaphorePermit> {
        let lane = if doubtful {
            &self.doubtful
        } else {
            &self.healthy
        };
        Arc::clone(lane).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn silent_bmcs_do_not_take_the_places_of_others() {
        let lanes = Lanes::new(8);
        let silent: Vec<_> = (0..2)
            .map(|_| lanes.enter(true).now_or_never().flatten())
            .collect();
        assert!(silent.iter().all(Option::is_some));
        assert!(
            lanes.enter(true).now_or_never().is_none(),
            "their lane is full"
        );
        let healthy: Vec<_> = (0..8)
            .map(|_| lanes.enter(false).now_or_never().flatten())
            .collect();
        assert!(healthy.iter().all(Option::is_some));
        assert!(lanes.enter(false).now_or_never().is_none());
    }
}
