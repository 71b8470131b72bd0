//! Why no answer came; the source of the public errors.

use std::io;

/// What broke between us and a BMC.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// No TCP connection.
    #[error("TCP connection failed")]
    Tcp(#[source] io::Error),
    /// No TLS session.
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The HTTP exchange broke or was no HTTP.
    #[error("HTTP exchange failed")]
    Http(#[source] hyper::Error),
    /// The peer closed the connection.
    #[error("connection was closed")]
    Closed,
    /// The time allowed for this step is over.
    #[error("{0} took too long")]
    Deadline(&'static str),
    /// A request that cannot be written as HTTP.
    #[error("request is no valid HTTP")]
    Request(#[source] http::Error),
    /// A compressed body that cannot be read.
    #[error("compressed answer cannot be read")]
    Encoding(#[source] io::Error),
}
