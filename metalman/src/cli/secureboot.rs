//! `metalman secureboot`: keys of the site, and what is served to machines that check signatures.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use netboot::sbat::{Level, Loaders};
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
    /// Show which generations of shim and GRUB are in a folder, and which of them are revoked
    Show {
        /// Folder with boot loaders, such as an unpacked netboot image
        dir: PathBuf,
        /// A later revocation list than the one built in
        #[arg(long, value_name = "LEVEL")]
        sbat_level: Option<String>,
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
        SecureBootCommand::Show { dir, sbat_level } => show(&dir, sbat_level.as_deref()),
    }
}

fn show(dir: &Path, level: Option<&str>) -> Result<()> {
    let floor = match level {
        Some(level) => Level::default().later(Level::parse(level)?),
        None => Level::default(),
    };
    let loaders = Loaders::of_folder(dir, &floor)
        .with_context(|| format!("read the boot loaders in {}", dir.display()))?;
    let mut text = format!("held against SBAT level {}\n", loaders.level().date());
    for (file, _) in loaders.files() {
        let words = loaders.describe(file);
        let words = words
            .as_deref()
            .unwrap_or("no SBAT section: shim refuses it");
        writeln!(text, "{file}: {words}")?;
    }
    super::print(&text)?;
    let revoked = loaders.revoked().len();
    if revoked > 0 {
        bail!("{revoked} of the components are revoked");
    }
    Ok(())
}
