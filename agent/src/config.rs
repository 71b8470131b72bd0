//! Configuration of the agent on an installed host: `/etc/unbounded/agent/config.json`.
//!
//! Invariant: a loaded configuration has a machine name and an absolute `http` report URL.
//! Keys of later parts of the agent are accepted and ignored here.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// Where the installer puts the configuration.
pub const DEFAULT_PATH: &str = "/etc/unbounded/agent/config.json";

/// Checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Name of the Machine object.
    pub machine_name: String,
    /// Absolute URL that takes boot reports; a secret of this host.
    pub boot_report_url: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireConfig {
    /// Name of the Machine object.
    machine_name: String,
    /// Where boots are reported.
    boot_report: WireBootReport,
}

#[derive(Debug, Deserialize)]
struct WireBootReport {
    /// Absolute capability URL.
    #[serde(rename = "URL")]
    url: String,
}

impl AgentConfig {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// The file is missing, is not JSON, or a key is missing or unusable; the text names it.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("use {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let wire: WireConfig = serde_json::from_str(text)?;
        ensure!(
            !wire.machine_name.is_empty(),
            "MachineName is empty; set the Machine's name"
        );
        ensure!(
            wire.boot_report.url.starts_with("http://"),
            "BootReport.URL must begin with http://"
        );
        Ok(Self {
            machine_name: wire.machine_name,
            boot_report_url: wire.boot_report.url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_parts_are_ignored() {
        let config = AgentConfig::parse(
            r#"{"MachineName":"node-1","BootReport":{"URL":"http://a/boot/x/report"},"Cluster":{}}"#,
        )
        .unwrap();
        assert_eq!(config.machine_name, "node-1");
        assert_eq!(config.boot_report_url, "http://a/boot/x/report");
    }

    #[test]
    fn a_missing_or_wrong_url_is_named() {
        let error = AgentConfig::parse(r#"{"MachineName":"n"}"#).unwrap_err();
        assert!(format!("{error:#}").contains("BootReport"), "{error:#}");
        let error =
            AgentConfig::parse(r#"{"MachineName":"n","BootReport":{"URL":"x"}}"#).unwrap_err();
        assert!(format!("{error:#}").contains("BootReport.URL"), "{error:#}");
    }
}
