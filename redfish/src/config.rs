//! What a client is made from. Not read from files or environment: the owner fills it in.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::trust::TlsTrust;

/// Bounds of waiting. All are wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS handshake.
    pub connect: Duration,
    /// One HTTP request from first byte to last.
    pub request: Duration,
    /// One request that BMCs take long over by nature, such as attaching an image.
    pub slow_request: Duration,
    /// Deletion of the session in `close`.
    pub logout: Duration,
    /// How long a written setting may take until it can be read back.
    pub read_back: Duration,
    /// How long a 202 task may run.
    pub task: Duration,
    /// How long the off half of a substituted power cycle may take.
    pub power: Duration,
    /// Pause between two polls of a task, a setting or a power state.
    pub poll: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            slow_request: Duration::from_mins(2),
            logout: Duration::from_secs(2),
            read_back: Duration::from_secs(10),
            task: Duration::from_mins(2),
            power: Duration::from_secs(90),
            poll: Duration::from_secs(1),
        }
    }
}

/// One BMC: where it is, who we are, what we trust.
#[derive(Clone)]
pub struct ClientConfig {
    /// `https://host[:port]`; a path is ignored, since all paths come from the service itself.
    pub base: Url,
    /// Account name on the BMC.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// Id (last path segment) of the system behind this address; discovered when absent.
    pub system_id: Option<String>,
    /// How the certificate is judged.
    pub trust: TlsTrust,
    /// Bounds of waiting.
    pub timeouts: Timeouts,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("base", &self.base.as_str())
            .field("username", &self.username)
            .field("system_id", &self.system_id)
            .field("trust", &self.trust)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
