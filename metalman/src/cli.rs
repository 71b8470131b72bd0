//! The command line of `metalman`: what can be asked, and which function answers. Not where
//! settings are defined; those are in `config`. Invariant: standard output carries results only,
//! everything else goes to standard error.

mod api;
mod audit;
mod bmc;
mod discovered;
mod secureboot;
mod stored;
mod table;
mod timeline;
mod token;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::{
    config::{self, ConfigArgs},
    serve, supervisor, telemetry,
};

/// Network boot, power and day-2 operations for the bare-metal machines of one site.
#[derive(Debug, Parser)]
#[command(name = "metalman", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the appliance
    #[command(alias = "serve-pxe")]
    Serve(Box<ConfigArgs>),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show what happened to a machine: boots, files, installations, power
    Timeline(timeline::TimelineArgs),
    /// Examine BMCs, and do what needs no operation
    #[command(subcommand)]
    Bmc(bmc::BmcCommand),
    /// List network cards that asked for an address and belong to no Machine, to enrol them
    Discovered(discovered::DiscoveredArgs),
    /// Move the objects of a site from one Kubernetes API to another
    #[command(subcommand)]
    Api(api::ApiCommand),
    /// Make, list and revoke tokens for the embedded API
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Show who changed, or tried to change, what: newest first
    Audit(audit::AuditArgs),
    /// Print the custom resource definitions as YAML
    Crd {
        /// Write one file per definition into this folder instead
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Check the templates of boot files
    #[command(subcommand)]
    Templates(TemplatesCommand),
    /// Make keys for UEFI Secure Boot
    #[command(subcommand, name = "secureboot")]
    SecureBoot(secureboot::SecureBootCommand),
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the configuration that `serve` would run with, and name every mistake
    Check(Box<ConfigArgs>),
    /// Print a configuration file with every setting, its default and its meaning
    Example,
}

#[derive(Debug, Subcommand)]
enum TemplatesCommand {
    /// Render every template with every sample and name those that fail
    Check {
        /// Folder of an unpacked netboot image [default: the templates built in]
        dir: Option<PathBuf>,
    },
    /// Print what a template may use: variables, filters, limits
    Context,
}

impl Cli {
    /// Parses the arguments of the process; ends it with a message when they are wrong or ask for
    /// help.
    pub fn from_command_line() -> Self {
        let command = Self::command()
            .mut_subcommand("serve", config::describe_defaults)
            .mut_subcommand("config", |c| {
                c.mut_subcommand("check", config::describe_defaults)
            });
        let parsed = Self::from_arg_matches(&command.get_matches());
        parsed.unwrap_or_else(|error| error.exit())
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// With context fit for the person at the terminal.
    pub async fn run(self) -> Result<()> {
        match self.command {
            Command::Serve(args) => {
                let config = args.load()?;
                telemetry::install(config.log.format, &config.log.filter)?;
                serve::run(config).await
            }
            Command::Config(ConfigCommand::Check(args)) => {
                args.load()?;
                print("the configuration is good\n")
            }
            Command::Config(ConfigCommand::Example) => print(&config::example()),
            Command::Timeline(args) => timeline::run(args).await,
            Command::Bmc(command) => bmc::run(command).await,
            Command::Discovered(args) => print(&discovered::run(args).await?),
            Command::Api(command) => print(&api::run(command).await?),
            Command::Token(command) => print(&token::run(command).await?),
            Command::Audit(args) => print(&audit::run(args).await?),
            Command::Crd { out } => crds(out.as_deref()),
            Command::Templates(TemplatesCommand::Check { dir }) => check_templates(dir.as_deref()),
            Command::SecureBoot(command) => secureboot::run(command),
            Command::Templates(TemplatesCommand::Context) => {
                print(&crate::site::template_reference())
            }
            Command::Version => print(concat!("metalman ", env!("CARGO_PKG_VERSION"), "\n")),
        }
    }
}

fn crds(out: Option<&Path>) -> Result<()> {
    let files = metalman_api::crd::files().context("write the definitions as YAML")?;
    let Some(dir) = out else {
        let documents: Vec<_> = files.into_iter().map(|(_, yaml)| yaml).collect();
        return print(&format!("---\n{}", documents.join("---\n")));
    };
    std::fs::create_dir_all(dir).with_context(|| format!("create folder {}", dir.display()))?;
    for (name, yaml) in files {
        let path = dir.join(name);
        std::fs::write(&path, yaml).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn check_templates(dir: Option<&Path>) -> Result<()> {
    let checked = netboot::render::check_templates(dir).context("load the templates")?;
    let mut failed = 0_usize;
    let mut lines = Vec::with_capacity(checked.len());
    for check in &checked {
        let verdict = match &check.outcome {
            Ok(_) => "good".to_owned(),
            Err(error) => {
                failed += 1;
                supervisor::chain(error)
            }
        };
        lines.push(format!(
            "{} with {}: {verdict}\n",
            check.template, check.sample
        ));
    }
    print(&lines.concat())?;
    if failed > 0 {
        bail!("{failed} of {} renderings failed", checked.len());
    }
    Ok(())
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `metalman … | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_of_templates_is_fresh() {
        let kept = include_str!("../../templates/README.md");
        let made = crate::site::template_reference();
        assert_eq!(
            kept, made,
            "metalman templates context > templates/README.md"
        );
    }
}
