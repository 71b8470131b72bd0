//! What a governor does with the client of its BMC on behalf of somebody else. Each errand is a type
//! with an answer of its own; sessions, bounds, breakers and error words are the governor's.

use std::fmt;

use redfish::{Client, Error};

/// Something to do with one system behind one BMC. Its `Debug` goes into logs: no secrets.
pub trait Errand: fmt::Debug + Send + Sync {
    /// What comes back.
    type Answer: Send;

    /// Whether "the BMC does not offer this" is an answer like any other, which says nothing about
    /// the health of the BMC.
    const IS_QUESTION: bool = true;

    /// Does it.
    fn run(&self, client: &Client) -> impl Future<Output = Result<Self::Answer, Error>> + Send;
}

/// Whether a BMC that answers this works: it understood and declined.
pub(super) const fn is_declined(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. }
            | Error::Unsupported { .. }
            | Error::Rejected { .. }
            | Error::AccountNotFound { .. }
    )
}
