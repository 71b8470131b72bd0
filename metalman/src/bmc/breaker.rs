//! When to leave a BMC alone: a circuit breaker. Pure; the time is an argument.
//!
//! It counts calls that failed, whatever the reason, except refused passwords, which have a breaker
//! of their own in the store. Invariant: an open breaker always has an end, so a BMC that comes back
//! is found without anybody's help.

use jiff::{SignedDuration, Timestamp};

use crate::domain::facts::Trouble;

/// Failures in a row after which calls are held back.
const OPENS_AFTER: u32 = 3;
/// Pause after the failure that opens the breaker; doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// Longest pause of the poller.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// Longest pause of an operation, which somebody is waiting for.
const LONGEST_PAUSE_URGENT: SignedDuration = SignedDuration::from_secs(15);
/// Longest time a BMC may ask us to stay away (`Retry-After`).
const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Who wants to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// The poller: nobody waits for it.
    Routine,
    /// An operation or a person.
    Urgent,
}

/// State of one BMC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    failures: u32,
    last: Option<(Timestamp, Trouble)>,
    /// The BMC itself asked for peace until then.
    asked_until: Option<Timestamp>,
}

impl Breaker {
    /// Whether a call may be made now; if not, why and until when not.
    pub(super) fn admit(&self, now: Timestamp, urgency: Urgency) -> Result<(), Trouble> {
        let Some((at, trouble)) = &self.last else {
            return Ok(());
        };
        let until = self.closed_until(*at, urgency);
        if until.is_none_or(|until| now >= until) {
            return Ok(());
        }
        // No countdown: the message goes into a status, which is written only when it changes.
        Err(Trouble {
            reason: trouble.reason.clone(),
            message: format!(
                "{} (failed {} times in a row, tried again after a pause)",
                trouble.message, self.failures
            ),
            transient: trouble.transient,
            at: *at,
        })
    }

    /// Whether the last call failed: such a BMC may be a silent one that costs a whole time-out.
    pub(super) fn is_doubtful(&self) -> bool {
        self.failures > 0
    }

    /// A call succeeded.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A call failed; `retry_after` is what the BMC asked for.
    pub(super) fn failed(
        &mut self,
        now: Timestamp,
        trouble: &Trouble,
        retry_after: Option<SignedDuration>,
    ) {
        self.failures = self.failures.saturating_add(1);
        self.last = Some((now, trouble.clone()));
        self.asked_until = retry_after
            .map(|pause| pause.clamp(SignedDuration::ZERO, LONGEST_RETRY_AFTER))
            .and_then(|pause| now.checked_add(pause).ok());
    }

    fn closed_until(&self, failed_at: Timestamp, urgency: Urgency) -> Option<Timestamp> {
        let pause = match self.failures.checked_sub(OPENS_AFTER) {
            None => None,
            Some(beyond) => {
                let doubled = FIRST_PAUSE
                    .checked_mul(1 << beyond.min(16))
                    .unwrap_or(LONGEST_PAUSE);
                let longest = match urgency {
                    Urgency::Routine => LONGEST_PAUSE,
                    Urgency::Urgent => LONGEST_PAUSE_URGENT,
                };
                Some(doubled.min(longest))
            }
        };
        let own = pause.and_then(|pause| failed_at.checked_add(pause).ok());
        own.max(self.asked_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn trouble(second: i64) -> Trouble {
        Trouble {
            reason: "Unreachable".into(),
            message: "BMC https://b: no answer".into(),
            transient: true,
            at: at(second),
        }
    }

    fn failed(times: u32) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..times {
            breaker.failed(at(100), &trouble(100), None);
        }
        breaker
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_are_short_for_an_operation() {
        // failures, pause of the poller, pause of an operation
        for (failures, routine, urgent) in [
            (0, 0, 0),
            (2, 0, 0),
            (3, 10, 10),
            (4, 20, 15),
            (7, 160, 15),
            (8, 300, 15),
            (u32::MAX, 300, 15),
        ] {
            let breaker = match failures {
                u32::MAX => Breaker {
                    failures,
                    ..failed(1)
                },
                times => failed(times),
            };
            for (urgency, pause) in [(Urgency::Routine, routine), (Urgency::Urgent, urgent)] {
                assert!(breaker.admit(at(100 + pause), urgency).is_ok());
                if pause > 0 {
                    assert!(
                        breaker.admit(at(99 + pause), urgency).is_err(),
                        "{failures} {urgency:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = failed(3).admit(at(103), Urgency::Routine).unwrap_err();
        assert_eq!(refused.reason, "Unreachable");
        assert_eq!(
            refused.message,
            "BMC https://b: no answer (failed 3 times in a row, tried again after a pause)"
        );
        assert_eq!(refused.at, at(100), "no new failure was seen");
    }

    #[test]
    fn a_success_closes_it() {
        let mut breaker = failed(9);
        assert!(breaker.is_doubtful());
        breaker.succeeded();
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn retry_after_holds_back_operations_too_but_not_for_ever() {
        let mut breaker = Breaker::default();
        let asked = SignedDuration::from_secs(40);
        breaker.failed(at(100), &trouble(100), Some(asked));
        assert!(breaker.admit(at(139), Urgency::Urgent).is_err());
        assert!(breaker.admit(at(140), Urgency::Urgent).is_ok());
        breaker.failed(at(100), &trouble(100), Some(SignedDuration::from_hours(9)));
        assert!(breaker.admit(at(400), Urgency::Urgent).is_ok());
    }
}
