//! When an idle BMC is read next. Pure; chance is replaced by the machine's name, so that a thousand
//! BMCs are spread over the interval and two appliances agree.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::SignedDuration;

use crate::domain::facts::Trouble;

/// A BMC that takes this long is asked less often.
const SLOW: SignedDuration = SignedDuration::from_secs(5);
/// Share of the interval after something has changed, or failed.
const LIVELY_SHARE: i32 = 4;
/// Multiple of the interval for slow BMCs.
const RELAXED_TIMES: i32 = 3;
/// Part of the pause by which names differ, in percent.
const JITTER_PERCENT: u64 = 20;

/// What the last reading was like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Impression {
    /// Same power state as before.
    Same,
    /// Another power state, or the first one, or one that is neither On nor Off.
    Changed,
    /// It failed; the breaker bounds how often it is really asked.
    Failed,
}

/// Pause until the next reading of `machine`, when `interval` is the pause of one that answers and
/// where nothing happens.
pub(super) fn pause(
    machine: &str,
    interval: SignedDuration,
    impression: Impression,
    took: SignedDuration,
) -> SignedDuration {
    let base = match impression {
        Impression::Same | Impression::Changed if took >= SLOW => {
            interval.checked_mul(RELAXED_TIMES).unwrap_or(interval)
        }
        Impression::Same => interval,
        Impression::Changed | Impression::Failed => interval / LIVELY_SHARE,
    };
    let millis = u64::try_from(base.as_millis()).unwrap_or(u64::MAX);
    let spread = millis / 100 * JITTER_PERCENT;
    let jittered = millis - spread / 2 + lot(machine) % spread.max(1);
    SignedDuration::from_millis(i64::try_from(jittered).unwrap_or(i64::MAX))
}

/// When a machine that was never read is read first, so that a start does not wake all at once.
/// `all` is the number of machines: 400 a second are begun, and never more than 10 s pass.
pub(super) fn first(machine: &str, all: usize) -> SignedDuration {
    let span = u64::try_from(all)
        .unwrap_or(u64::MAX)
        .saturating_mul(5)
        .div_ceil(2)
        .min(10_000);
    SignedDuration::from_millis(i64::try_from(lot(machine) % span.max(1)).unwrap_or(0))
}

/// The place of `machine` within `span`, for a first look that need not be soon.
pub(super) fn spread(machine: &str, span: SignedDuration) -> SignedDuration {
    let millis = u64::try_from(span.as_millis()).unwrap_or(0).max(1);
    SignedDuration::from_millis(i64::try_from(lot(machine) % millis).unwrap_or(0))
}

/// Whether a changed Secret may end this trouble.
pub(super) fn hangs_on_secret(trouble: &Trouble) -> bool {
    trouble.reason == "Unauthorized" || trouble.reason.starts_with("Secret")
}

fn lot(machine: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    machine.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: SignedDuration = SignedDuration::from_millis(100);
    const MINUTE: SignedDuration = SignedDuration::from_mins(1);

    #[test]
    fn the_pause_follows_what_happens() {
        for (impression, took, seconds) in [
            (Impression::Same, QUICK, 60),
            (Impression::Changed, QUICK, 15),
            (Impression::Failed, QUICK, 15),
            (Impression::Failed, SLOW, 15),
            (Impression::Same, SLOW, 180),
            (Impression::Changed, SLOW, 180),
        ] {
            let base = SignedDuration::from_secs(seconds);
            let pause = pause("node-1", MINUTE, impression, took);
            assert!(
                pause >= base * 9 / 10 && pause <= base * 11 / 10,
                "{pause:?}"
            );
        }
    }

    #[test]
    fn names_spread_the_readings() {
        let pauses: std::collections::BTreeSet<_> = (0..1000)
            .map(|i| pause(&format!("node-{i}"), MINUTE, Impression::Same, QUICK))
            .collect();
        assert!(pauses.len() > 900);
        let late = (0..1000)
            .map(|i| first(&format!("node-{i}"), 1000).as_millis())
            .inspect(|first| assert!((0..2500).contains(first)))
            .filter(|first| *first > 1250)
            .count();
        assert!((350..650).contains(&late), "{late}");
        assert!(first("node-1", 1) < SignedDuration::from_millis(10));
        assert!((0..100).all(|i| spread(&format!("node-{i}"), MINUTE) < MINUTE));
        assert_eq!(spread("node-1", SignedDuration::ZERO), SignedDuration::ZERO);
    }
}
