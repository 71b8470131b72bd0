//! Preconditions of a PATCH, attempt by attempt.
//!
//! Pure. BMCs differ: some demand If-Match, some answer 412 to the tag they have just sent. Actions
//! never carry one.

/// What a PATCH says about the version it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// `If-Match` with the tag the resource had.
    Tag(String),
    /// No `If-Match`.
    None,
    /// `If-Match: *`, for services that demand a tag and do not give one.
    Any,
}

impl Precondition {
    pub(crate) fn first(etag: Option<&str>) -> Self {
        etag.map_or(Self::None, |etag| Self::Tag(etag.to_owned()))
    }

    /// The value of `If-Match`.
    pub(crate) fn if_match(&self) -> Option<&str> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::None => None,
            Self::Any => Some("*"),
        }
    }

    /// What to try after `status`; `None` if another precondition cannot help.
    pub(crate) fn next(&self, status: u16) -> Option<Self> {
        match (self, status) {
            (Self::Tag(_), 412 | 428) => Some(Self::None),
            (Self::None, 428) => Some(Self::Any),
            (Self::Tag(_) | Self::None | Self::Any, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_end_whatever_the_bmc_answers() {
        for statuses in [[412, 412, 412], [428, 428, 428], [412, 428, 412]] {
            let mut precondition = Precondition::first(Some("\"1\""));
            let mut attempts = 1;
            for status in statuses {
                match precondition.next(status) {
                    Some(next) => precondition = next,
                    None => break,
                }
                attempts += 1;
            }
            assert!(attempts <= 3);
        }
    }

    #[test]
    fn tag_is_dropped_after_412_and_invented_after_428() {
        assert_eq!(Precondition::first(Some("\"1\"")).if_match(), Some("\"1\""));
        assert_eq!(
            Precondition::Tag("x".into()).next(412),
            Some(Precondition::None)
        );
        assert_eq!(Precondition::None.next(428), Some(Precondition::Any));
        assert_eq!(Precondition::None.next(412), None);
        assert_eq!(Precondition::None.next(200), None);
    }
}
