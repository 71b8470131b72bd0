//! The store of an appliance, for commands that read it directly and so work while the appliance is
//! stopped. Invariant: a store that is not there is not made.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    config::{Config, ConfigArgs, DatabaseConfig, WireConfig},
    serve,
    store::Store,
};

/// Where the store is.
#[derive(Debug, Args)]
pub(super) struct StoredArgs {
    /// Configuration file of the appliance
    #[arg(long, value_name = "FILE", env = "METALMAN_CONFIG")]
    config: Option<PathBuf>,
    /// State folder of the appliance
    #[arg(long, value_name = "DIR", env = "METALMAN_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl StoredArgs {
    /// The configuration that says where the store is.
    ///
    /// # Errors
    /// It is wrong.
    pub(super) fn load(self) -> Result<Config> {
        let flags = WireConfig {
            state_dir: self.state_dir,
            ..WireConfig::default()
        };
        let file = self.config;
        ConfigArgs { file, flags }.load()
    }

    /// The store, which must be there, and that configuration.
    ///
    /// # Errors
    /// The configuration is wrong, or there is no store where it says.
    pub(super) async fn open(self) -> Result<(Config, Store)> {
        let config = self.load()?;
        refuse_missing_file(&config.database)?;
        let store = serve::open_database(&config.database).await?;
        Ok((config, store))
    }
}

/// Opening an SQLite store makes it; asking about one must not.
fn refuse_missing_file(database: &DatabaseConfig) -> Result<()> {
    let DatabaseConfig::Url(url) = database else {
        return Ok(());
    };
    let Some(path) = url.strip_prefix("sqlite://") else {
        return Ok(());
    };
    if !std::path::Path::new(path).exists() {
        bail!("there is no store at {path}; name the state folder with --state-dir or --config");
    }
    Ok(())
}
