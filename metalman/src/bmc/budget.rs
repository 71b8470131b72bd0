//! How many requests a BMC is asked to answer: a token bucket. Pure; the time is an argument.
//!
//! BMCs are small computers; several stop answering under a request rate that a phone would not
//! notice. What a call really cost is only known after it, so a call may overdraw the bucket and the
//! next one waits.

use jiff::{SignedDuration, Timestamp};

/// Requests per second in the long run.
const PER_SECOND: f64 = 5.0;
/// Requests that may come at once after a quiet time.
const BURST: f64 = 60.0;

/// Balance of one BMC.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Budget {
    balance: f64,
    at: Option<Timestamp>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            balance: BURST,
            at: None,
        }
    }
}

impl Budget {
    /// How long to wait before the next call; zero while there is balance.
    pub(super) fn pause(&self, now: Timestamp) -> SignedDuration {
        let balance = self.balance_at(now);
        if balance >= 1.0 {
            return SignedDuration::ZERO;
        }
        SignedDuration::try_from_secs_f64((1.0 - balance) / PER_SECOND)
            .unwrap_or(SignedDuration::ZERO)
    }

    /// Takes what a call cost.
    pub(super) fn spend(&mut self, now: Timestamp, requests: u32) {
        self.balance = self.balance_at(now) - f64::from(requests);
        self.at = Some(now);
    }

    fn balance_at(&self, now: Timestamp) -> f64 {
        let earned = self.at.map_or(0.0, |at| {
            now.duration_since(at).as_secs_f64().max(0.0) * PER_SECOND
        });
        (self.balance + earned).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_burst_is_free_and_then_calls_are_spread() {
        let mut budget = Budget::default();
        budget.spend(at(0), 59);
        assert_eq!(budget.pause(at(0)), SignedDuration::ZERO);
        budget.spend(at(0), 6);
        assert_eq!(budget.pause(at(0)), SignedDuration::from_millis(1200));
        assert_eq!(budget.pause(at(2)), SignedDuration::ZERO);
    }

    #[test]
    fn quiet_time_fills_it_to_the_brim_only() {
        let mut budget = Budget::default();
        budget.spend(at(0), 30);
        budget.spend(at(1_000_000), 60);
        assert!(budget.pause(at(1_000_000)) > SignedDuration::ZERO);
    }

    #[test]
    fn a_clock_that_goes_back_earns_nothing_and_costs_nothing() {
        let mut budget = Budget::default();
        budget.spend(at(1000), 10);
        budget.spend(at(0), 10);
        assert_eq!(budget.pause(at(0)), SignedDuration::ZERO);
    }
}
