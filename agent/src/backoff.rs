//! How long to wait before the next try: pure numbers, no sleeping.
//!
//! Invariant: the waits never shrink and their number is bounded.

use std::time::Duration;

/// A bounded series of waits that doubles from `first` up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// First wait.
    pub first: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// Tries in all; the first one is not preceded by a wait.
    pub tries: u32,
}

impl Backoff {
    /// Wait before try `try_number` (counted from 0, which waits nothing); `None` when the tries
    /// are used up.
    pub fn before(&self, try_number: u32) -> Option<Duration> {
        if try_number >= self.tries {
            return None;
        }
        let Some(doublings) = try_number.checked_sub(1) else {
            return Some(Duration::ZERO);
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        Some(self.first.saturating_mul(factor).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_end() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(5),
            tries: 6,
        };
        let waits: Vec<Option<u64>> = (0..8)
            .map(|n| backoff.before(n).map(|wait| wait.as_secs()))
            .collect();
        assert_eq!(
            waits,
            [
                Some(0),
                Some(1),
                Some(2),
                Some(4),
                Some(5),
                Some(5),
                None,
                None
            ]
        );
    }

    #[test]
    fn a_large_try_number_does_not_overflow() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(30),
            tries: u32::MAX,
        };
        assert_eq!(backoff.before(4_000_000), Some(Duration::from_secs(30)));
    }
}
