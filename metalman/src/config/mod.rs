//! Configuration: what may be written ([`WireConfig`]: file, flags, environment) and what the
//! program runs on ([`Config`]: checked, no hidden defaults). Nothing outside this folder reads the
//! environment or knows where a setting came from.
//!
//! Invariant: a [`Config`] exists only if every setting in it has been checked; all mistakes are
//! reported together.

mod check;
mod checked;
mod example;
mod images;
mod problem;
#[cfg(test)]
mod tests;
mod values;
mod wire;

use std::path::Path;

use anyhow::{Context, Result};

pub use checked::{
    ApiSettings, BmcConfig, ClusterConfig, Config, DatabaseConfig, DhcpMode, HttpTlsConfig,
    LogConfig, OperationConfig,
};
pub use example::{describe_defaults, example};
pub use images::ImagesConfig;
pub use problem::{Problem, Problems};
pub use wire::{ConfigArgs, WireConfig};

impl ConfigArgs {
    /// Reads the file, lays flags and environment over it, fills in defaults and checks all of it.
    ///
    /// # Errors
    /// The file cannot be read or parsed (with the path of the key), or [`Problems`].
    pub fn load(self) -> Result<Config> {
        let file = match &self.file {
            Some(path) => read(path)?,
            None => WireConfig::default(),
        };
        Ok(Config::try_from(self.flags.over(file))?)
    }
}

fn read(path: &Path) -> Result<WireConfig> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read configuration file {} (--config)", path.display()))?;
    parse(&text).with_context(|| format!("parse configuration file {}", path.display()))
}

/// Parses the text of a configuration file.
///
/// # Errors
/// Not TOML, an unknown key or a wrong type; the error names the key path.
pub fn parse(text: &str) -> Result<WireConfig> {
    let document = toml::Deserializer::parse(text)?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        anyhow::Error::new(error.into_inner()).context(format!("key {path}"))
    })
}
