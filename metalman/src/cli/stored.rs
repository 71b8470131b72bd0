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
    /// The store, and the configuration that says where it is.
    ///
    /// # Errors
    /// The configuration is wrong, or there is no store there.
    pub(super) async fn open(self) -> Result<(Config, Store)> {
        let flags = WireConfig {
            state_dir: self.state_dir,
            ..WireConfig::default()
        };
        let file = self.config;
        let config = ConfigArgs { file, flags }.load()?;
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
