//! QMP: the few commands and the one event that are needed.
//!
//! Not a general client. Invariant: every line is consumed once, and a SHUTDOWN that arrives while
//! a command waits for its answer is kept.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::super::GuestEvent;

/// A command is answered within this time or the machine is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A negotiated QMP connection.
#[derive(Debug)]
pub(super) struct Qmp {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    ended: Option<GuestEvent>,
}

impl Qmp {
    pub(super) async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        let lines = BufReader::new(reader).lines();
        let mut qmp = Self {
            lines,
            writer,
            ended: None,
        };
        qmp.execute("qmp_capabilities").await?;
        Ok(qmp)
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn execute(&mut self, command: &str) -> anyhow::Result<()> {
        self.send(command).await?;
        let answer = async {
            while let Some(line) = self.lines.next_line().await? {
                match parse(&line) {
                    Line::Answer => return Ok(()),
                    Line::Refusal(why) => bail!("{command}: {why}"),
                    Line::Shutdown(event) => self.ended = Some(event),
                    Line::Noise => {}
                }
            }
            bail!("QMP closed during {command}")
        };
        timeout(ANSWER_TIMEOUT, answer)
            .await
            .with_context(|| format!("no answer to {command}"))?
    }

    /// Sends a command; its answer is read as noise later.
    pub(super) async fn send(&mut self, command: &str) -> anyhow::Result<()> {
        let line = format!("{{\"execute\":\"{command}\"}}\n");
        self.writer
            .write_all(line.as_bytes())
            .await
            .with_context(|| format!("sending {command}"))
    }

    /// Reads until QEMU closes the connection and says why it ended, if it did. Cancel-safe.
    pub(super) async fn closed(&mut self) -> Option<GuestEvent> {
        while let Ok(Some(line)) = self.lines.next_line().await {
            if let Line::Shutdown(event) = parse(&line) {
                self.ended = Some(event);
            }
        }
        self.ended.clone()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Answer,
    Refusal(String),
    Shutdown(GuestEvent),
    Noise,
}

fn parse(line: &str) -> Line {
    let value: Value = serde_json::from_str(line).unwrap_or(Value::Null);
    if value.get("return").is_some() {
        return Line::Answer;
    }
    if let Some(error) = value.get("error") {
        let why = error
            .get("desc")
            .and_then(Value::as_str)
            .unwrap_or("refused");
        return Line::Refusal(why.to_owned());
    }
    if value.get("event").and_then(Value::as_str) != Some("SHUTDOWN") {
        return Line::Noise;
    }
    let reason = value
        .get("data")
        .and_then(|data| data.get("reason"))
        .and_then(Value::as_str);
    Line::Shutdown(match reason {
        Some("guest-reset") => GuestEvent::Reset,
        Some("guest-shutdown") => GuestEvent::Shutdown,
        Some(other) => GuestEvent::Died(format!("ended by {other}")),
        None => GuestEvent::Died("ended without a reason".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_and_shutdown_are_told_apart() {
        let event = |reason: &str| {
            parse(&format!(
                r#"{{"event":"SHUTDOWN","data":{{"guest":true,"reason":"{reason}"}}}}"#
            ))
        };
        assert_eq!(event("guest-reset"), Line::Shutdown(GuestEvent::Reset));
        assert_eq!(
            event("guest-shutdown"),
            Line::Shutdown(GuestEvent::Shutdown)
        );
        assert!(matches!(
            event("guest-panic"),
            Line::Shutdown(GuestEvent::Died(_))
        ));
        assert_eq!(parse(r#"{"return": {}}"#), Line::Answer);
        assert_eq!(parse("garbage"), Line::Noise);
    }
}
