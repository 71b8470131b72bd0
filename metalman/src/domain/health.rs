//! Health of a BMC and its machine as it is shown: a change must be read twice in a row, so that a
//! value that wavers is not written again and again. Pure.

use jiff::Timestamp;

/// `Status.Health`, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing is wrong.
    Ok,
    /// Something needs attention.
    Warning,
    /// Something needs attention now.
    Critical,
}

impl Health {
    /// Reads a Redfish word; `None` for any other.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Ok, Self::Warning, Self::Critical]
            .into_iter()
            .find(|health| health.as_str().eq_ignore_ascii_case(word))
    }

    /// The Redfish word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
        }
    }
}

/// The health that is shown, and the one that may come next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SteadyHealth {
    shown: Option<Health>,
    rumour: Option<Health>,
}

impl SteadyHealth {
    /// Takes in a reading. The first one is shown at once; a BMC that does not say changes nothing.
    pub fn take(&mut self, read: Option<Health>) {
        let Some(read) = read else {
            return;
        };
        if self.shown.is_none() || self.rumour == Some(read) {
            self.shown = Some(read);
        }
        self.rumour = (self.shown != Some(read)).then_some(read);
    }

    /// What is shown.
    pub fn shown(self) -> Option<Health> {
        self.shown
    }
}

/// What a Machine's status shows of its BMC. Nothing here moves while the machine merely works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BmcFacts {
    /// Steady.
    pub health: Option<Health>,
    /// Of the system firmware.
    pub bios_version: Option<String>,
    /// Of the BMC's firmware.
    pub firmware_version: Option<String>,
    /// End of validity of the certificate.
    pub certificate_ends: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Health::{Critical, Ok, Warning};
    use super::*;

    #[test]
    fn a_change_is_shown_when_it_was_read_twice() {
        let mut steady = SteadyHealth::default();
        // reading, what is shown after it
        for (read, shown) in [
            (None, None),
            (Some(Ok), Some(Ok)),
            (Some(Warning), Some(Ok)),
            (Some(Ok), Some(Ok)),
            (Some(Warning), Some(Ok)),
            (Some(Critical), Some(Ok)),
            (None, Some(Ok)),
            (Some(Critical), Some(Critical)),
            (Some(Ok), Some(Critical)),
            (Some(Ok), Some(Ok)),
        ] {
            steady.take(read);
            assert_eq!(steady.shown(), shown, "after {read:?}");
        }
    }

    #[test]
    fn words_are_read_whatever_their_case() {
        assert_eq!(Health::parse("ok"), Some(Ok));
        assert_eq!(Health::parse("Critical"), Some(Critical));
        assert_eq!(Health::parse("Absent"), None);
        assert!(Ok < Warning && Warning < Critical);
    }

    proptest! {
        #[test]
        fn what_wavers_is_never_written(times in 1_usize..50) {
            let mut steady = SteadyHealth::default();
            steady.take(Some(Ok));
            for _ in 0..times {
                steady.take(Some(Warning));
                prop_assert_eq!(steady.shown(), Some(Ok));
                steady.take(Some(Ok));
            }
        }
    }
}
