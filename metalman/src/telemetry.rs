//! Logs: one subscriber, written to standard error, text for people or JSON for collectors.
//! Not metrics; those are in `health`. Invariant: installed once, before any task starts.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event; coloured when standard error is a terminal.
    Text,
    /// One JSON object per event.
    Json,
}

/// Installs the process-wide subscriber.
///
/// `filter` is a list of `target=level` directives such as `info,metalman=debug`.
///
/// # Errors
/// The filter does not parse, or a subscriber is already installed.
pub fn install(format: LogFormat, filter: &str) -> Result<()> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("parse log filter {filter:?}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(format == LogFormat::Text && std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("install log subscriber: {error}"))
}

/// Whether `filter` is a list of directives that [`install`] accepts.
///
/// # Errors
/// The text of the refusal, fit to be shown beside the value.
pub(crate) fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter)
        .map(|_| ())
        .map_err(|error| error.to_string())
}
