//! Preconditions of a PATCH, attempt by attempt.
//!
//! Pure. BMCs differ: some demand If-Match, some answer 412 to the tag they have just sent, some
//! quote it twice. Actions start without one and carry one only to a BMC that demands it.

use crate::model::Messages;

/// Message keys that mean a missing or wrong precondition.
const KEYS: &[&str] = &[
    "PreconditionFailed",
    "PreconditionRequired",
    "HeaderMissing",
];

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

    /// What to try after an answer; `None` if another precondition cannot help. Some services say
    /// 400 and mean a precondition, which only the message key tells.
    pub(crate) fn next(&self, status: u16, messages: &Messages) -> Option<Self> {
        let about_precondition = match status {
            412 | 428 => true,
            400 => KEYS.iter().any(|key| messages.has(key)),
            _ => false,
        };
        match self {
            Self::Tag(_) if about_precondition => Some(Self::None),
            Self::None if about_precondition => Some(Self::Any),
            Self::Tag(_) | Self::None | Self::Any => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn next(precondition: &Precondition, status: u16) -> Option<Precondition> {
        precondition.next(status, &Messages::parse(&Value::Null))
    }

    #[test]
    fn attempts_end_whatever_the_bmc_answers() {
        for statuses in [[412, 412, 412], [428, 428, 428], [412, 428, 412]] {
            let mut precondition = Precondition::first(Some("\"1\""));
            let mut attempts = 1;
            for status in statuses {
                match next(&precondition, status) {
                    Some(next) => precondition = next,
                    None => break,
                }
                attempts += 1;
            }
            assert_eq!(attempts, 3);
        }
    }

    #[test]
    fn tag_is_dropped_first_and_any_is_the_last_resort() {
        let tag = Precondition::first(Some("\"1\""));
        assert_eq!(tag.if_match(), Some("\"1\""));
        assert_eq!(next(&tag, 412), Some(Precondition::None));
        assert_eq!(next(&Precondition::None, 428), Some(Precondition::Any));
        assert_eq!(next(&Precondition::None, 412), Some(Precondition::Any));
        assert_eq!(next(&Precondition::Any, 412), None);
        assert_eq!(next(&tag, 200), None);
        assert_eq!(next(&tag, 400), None);
    }

    #[test]
    fn precondition_behind_a_400_is_seen() {
        let body = json!({"error": {"@Message.ExtendedInfo": [
            {"MessageId": "Base.1.8.PreconditionRequired"},
        ]}});
        let messages = Messages::parse(&body);
        assert_eq!(
            Precondition::None.next(400, &messages),
            Some(Precondition::Any)
        );
    }
}
