//! Where log lines go: standard error for an ordinary process, the kernel log for process 1.
//!
//! Not a logger of its own: events are `tracing` events. Invariant: one event is one line and a
//! sink that fails never stops the agent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::sync::Mutex;

/// Kernel records are cut near 1 KiB; the prefix and the newline must fit too.
const LONGEST_LINE: usize = 900;
/// Console log level above which the kernel itself shows informational records.
const KERN_INFO: u32 = 6;

/// Logs to standard error.
pub fn to_stderr() {
    let layer = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(io::stderr);
    if layer.try_init().is_err() {
        tracing::debug!("logging was set up before");
    }
}

/// Logs to `/dev/kmsg`, and to `/dev/console` as well when the kernel does not show its records
/// there. Needs `/proc` and `/dev`.
pub fn to_kernel_log() {
    // The default limit of ten records in five seconds would swallow ours.
    if fs::write("/proc/sys/kernel/printk_devkmsg", "on\n").is_err() {
        tracing::debug!("kernel log stays rate limited");
    }
    let open = |path| OpenOptions::new().write(true).open(path).ok();
    let shown_by_kernel = fs::read_to_string("/proc/sys/kernel/printk")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<u32>().ok())
        .is_some_and(|level| level > KERN_INFO);
    let kmsg = open("/dev/kmsg");
    let console = if shown_by_kernel && kmsg.is_some() {
        None
    } else {
        open("/dev/console")
    };
    let layer = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(Mutex::new(KernelLog { kmsg, console }));
    if layer.try_init().is_err() {
        tracing::debug!("logging was set up before");
    }
}

/// Writes each buffer as one record.
#[derive(Debug)]
struct KernelLog {
    kmsg: Option<File>,
    console: Option<File>,
}

impl Write for KernelLog {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let line = record(buffer);
        // A lost line is better than a lost installation.
        if let Some(kmsg) = &mut self.kmsg
            && kmsg.write_all(format!("<6>{line}\n").as_bytes()).is_err()
        {
            self.kmsg = None;
        }
        if let Some(console) = &mut self.console
            && console.write_all(format!("{line}\r\n").as_bytes()).is_err()
        {
            self.console = None;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One event as a single bounded line.
fn record(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    let one_line = text.trim().replace(['\n', '\r'], " ");
    let cut: String = one_line.chars().take(LONGEST_LINE).collect();
    format!("unbounded-agent: {cut}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_becomes_one_bounded_line() {
        assert_eq!(record(b" a\nb \n"), "unbounded-agent: a b");
        assert!(record(&[b'x'; 5000]).len() < 1000);
    }
}
