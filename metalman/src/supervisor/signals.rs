//! Signals of the operating system as a stream. Invariant: installed once; from then on SIGTERM,
//! SIGINT and SIGHUP no longer end the process by themselves.

use std::{io, task::Poll};

use futures::{Stream, stream};
use tokio::signal::unix::{SignalKind, signal};

/// What somebody outside asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop; the second one at once.
    Terminate,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Takes over the signals and returns them as they arrive, for ever.
///
/// # Errors
/// The handlers cannot be installed.
pub fn signals() -> io::Result<impl Stream<Item = Signal> + Send + Unpin> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(stream::poll_fn(move |context| {
        if terminate.poll_recv(context).is_ready() || interrupt.poll_recv(context).is_ready() {
            return Poll::Ready(Some(Signal::Terminate));
        }
        hangup.poll_recv(context).map(|_| Some(Signal::Reload))
    }))
}
