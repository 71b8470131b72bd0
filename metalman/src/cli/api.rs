//! `metalman api`: moves the objects of a site between Kubernetes APIs, the embedded one or a cluster's.
//!
//! It speaks to the API, so it needs a kubeconfig and a server that answers.

use std::{io::Read as _, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::stored::StoredArgs;
use crate::transfer::{self, Options};

#[derive(Debug, Subcommand)]
pub(super) enum ApiCommand {
    /// Write all objects as YAML for `kubectl apply --server-side -f -`; operations come suspended,
    /// and counters that ask for operations stay behind
    Export(TransferArgs),
    /// Apply what `export` wrote
    Import(ImportArgs),
}

#[derive(Debug, Args)]
pub(super) struct TransferArgs {
    /// Secrets too
    #[arg(long)]
    with_secrets: bool,
    /// Status too; kubectl ignores it, `metalman api import --with-status` does not
    #[arg(long)]
    with_status: bool,
    /// Kubeconfig of the API [default: the one of the embedded API, in the state folder]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    place: StoredArgs,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// What to apply; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    transfer: TransferArgs,
}

impl TransferArgs {
    async fn open(self) -> Result<(Client, Options)> {
        let options = Options {
            secrets: self.with_secrets,
            status: self.with_status,
        };
        let path = match self.kubeconfig {
            Some(path) => path,
            None => self.place.load()?.state_dir.join("kubeconfig"),
        };
        let found = Kubeconfig::read_from(&path)
            .with_context(|| format!("read {} (--kubeconfig, --state-dir)", path.display()))?;
        let config = Config::from_custom_kubeconfig(found, &KubeConfigOptions::default())
            .await
            .with_context(|| format!("use {}", path.display()))?;
        Ok((Client::try_from(config)?, options))
    }
}

/// Does it and returns what is to be printed.
///
/// # Errors
/// The API does not answer or refuses something.
pub(super) async fn run(command: ApiCommand) -> Result<String> {
    match command {
        ApiCommand::Export(args) => {
            let (client, options) = args.open().await?;
            transfer::export(&client, options).await
        }
        ApiCommand::Import(args) => {
            let text = read(&args.file)?;
            let (client, options) = args.transfer.open().await?;
            report(transfer::import(&client, &text, options).await?)
        }
    }
}

fn read(path: &std::path::Path) -> Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn report(outcomes: Vec<transfer::Outcome>) -> Result<String> {
    let (mut text, mut failed) = (String::new(), Vec::new());
    for outcome in outcomes {
        match outcome.result {
            Ok(()) => text.extend([outcome.object.as_str(), " applied\n"]),
            Err(error) => failed.push(format!("{}: {error:#}", outcome.object)),
        }
    }
    if failed.is_empty() {
        return Ok(text);
    }
    bail!(
        "{} of the objects were refused:\n{}",
        failed.len(),
        failed.join("\n")
    )
}
