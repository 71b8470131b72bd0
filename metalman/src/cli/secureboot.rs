//! `metalman secureboot`: keys of the site.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use uuid::Uuid;

use crate::{clock, secureboot};

#[derive(Debug, Subcommand)]
pub(super) enum SecureBootCommand {
    /// Make keys for a GRUB of your own, and the files by which machines learn to trust them
    Init {
        /// Where they go; private keys are readable by their owner alone
        #[arg(long, value_name = "DIR", default_value = "secureboot")]
        dir: PathBuf,
        /// Name in the certificates
        #[arg(long, value_name = "NAME", default_value = "metalman")]
        site: String,
    },
}

/// Does what was asked and prints the result.
///
/// # Errors
/// Keys exist already, or cannot be written.
pub(super) fn run(command: SecureBootCommand) -> Result<()> {
    match command {
        SecureBootCommand::Init { dir, site } => {
            let folder = secureboot::make(&site, Uuid::new_v4(), clock::now())
                .context("make Secure Boot keys")?;
            folder.write(&dir)?;
            super::print(&format!(
                "made keys in {}: machines must trust db.crt, db.key signs; how: {}\n",
                dir.display(),
                dir.join("README.txt").display()
            ))
        }
    }
}
