//! `metalman token`: who besides the administrator may use the embedded API. Works on the store, so
//! it also works while the appliance is stopped; a running one notices within a second.
//!
//! Invariant: a token is shown once, when it is made.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use kube::config::{AuthInfo, Kubeconfig, NamedAuthInfo};
use secrecy::SecretString;

use super::stored::StoredArgs;
use crate::{
    clock,
    standalone::{access, identity::write_private, kubeconfig::kubeconfig_text},
    store::{ApiToken, TokenRole},
};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it; it is shown only now
    Create(CreateArgs),
    /// Show the tokens there are, without the tokens themselves
    List(StoredArgs),
    /// Revoke the token of a person or program, or with --agent that of a Machine's agent
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Whose it is: the user name in the audit log
    #[arg(long)]
    name: String,
    /// What it permits
    #[arg(long, value_enum)]
    role: WordOfRole,
    /// How long it is valid, such as 8h [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    ttl: Option<Duration>,
    /// Write a kubeconfig with the token into this file instead of printing the token
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    place: StoredArgs,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// Name the token was made for; with --agent the name of the Machine
    name: String,
    /// Revoke the agent's token of the Machine with this name
    #[arg(long)]
    agent: bool,
    #[command(flatten)]
    place: StoredArgs,
}

/// Roles for people and programs; agents get theirs when they are installed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum WordOfRole {
    Admin,
    Operator,
    Viewer,
}

impl From<WordOfRole> for TokenRole {
    fn from(word: WordOfRole) -> Self {
        match word {
            WordOfRole::Admin => Self::Admin,
            WordOfRole::Operator => Self::Operator,
            WordOfRole::Viewer => Self::Viewer,
        }
    }
}

/// Does it and returns what is to be printed.
///
/// # Errors
/// There is no store, it cannot be used, or the name is taken or not known.
pub(super) async fn run(command: TokenCommand) -> Result<String> {
    match command {
        TokenCommand::Create(args) => create(args).await,
        TokenCommand::List(place) => {
            let (_, store) = place.open().await?;
            Ok(table(&store.api_tokens().all().await?, clock::now()))
        }
        TokenCommand::Revoke(args) => {
            let (_, store) = args.place.open().await?;
            let (tokens, now) = (store.api_tokens(), clock::now());
            let revoked = if args.agent {
                tokens.revoke_agent(&args.name, now).await?
            } else {
                tokens.revoke(&args.name, now).await?
            };
            ensure!(
                revoked > 0,
                "no token of {} is in force; `metalman token list` shows them",
                args.name
            );
            Ok(format!("revoked {revoked} token(s) of {}\n", args.name))
        }
    }
}

async fn create(args: CreateArgs) -> Result<String> {
    check_name(&args.name)?;
    let (config, store) = args.place.open().await?;
    let kubeconfig = match &args.kubeconfig {
        Some(_) => Some(cluster_of(&config.state_dir.join("kubeconfig"))?),
        None => None,
    };
    let now = clock::now();
    let token = access::random_token();
    let mut kept = access::minted(&token, &args.name, args.role.into(), now);
    kept.expires_at = args.ttl.map(|ttl| now.checked_add(ttl)).transpose()?;
    if !store.api_tokens().add(&kept, now).await? {
        bail!(
            "{} has a token already; revoke it first with `metalman token revoke {}`",
            args.name,
            args.name
        );
    }
    let Some((path, kubeconfig)) = args.kubeconfig.zip(kubeconfig) else {
        return Ok(format!("{token}\n"));
    };
    let text = kubeconfig_text(&with_token(kubeconfig, &args.name, &token));
    write_private(&path, &text).with_context(|| format!("write {}", path.display()))?;
    Ok(format!("wrote {}\n", path.display()))
}

fn cluster_of(path: &std::path::Path) -> Result<Kubeconfig> {
    Kubeconfig::read_from(path).with_context(|| {
        format!(
            "read {}; it is written when metalman has run with --standalone",
            path.display()
        )
    })
}

/// The kubeconfig with another user.
fn with_token(mut kubeconfig: Kubeconfig, name: &str, token: &str) -> Kubeconfig {
    kubeconfig.auth_infos = vec![NamedAuthInfo {
        name: name.to_owned(),
        auth_info: Some(AuthInfo {
            token: Some(SecretString::from(token.to_owned())),
            ..AuthInfo::default()
        }),
        ..NamedAuthInfo::default()
    }];
    for context in &mut kubeconfig.contexts {
        if let Some(context) = &mut context.context {
            context.user = Some(name.to_owned());
        }
    }
    kubeconfig
}

/// A user name: what can stand in a log line and a file name.
fn check_name(name: &str) -> Result<()> {
    let fine = !name.is_empty()
        && name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b))
        && name
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric);
    ensure!(
        fine && name != "admin",
        "--name {name:?} cannot be used: take 1 to 63 letters, digits, '-', '_', '.' or '@', \
         beginning with a letter or digit, and not \"admin\""
    );
    Ok(())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|e| format!("{e}; write 8h or 30m"))?;
    Duration::try_from(span)
        .ok()
        .filter(|ttl| !ttl.is_zero())
        .ok_or_else(|| "it must be longer than nothing".to_owned())
}

fn table(tokens: &[ApiToken], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "there are no tokens besides the administrator's\n".to_owned();
    }
    let time = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let width = tokens
        .iter()
        .map(|t| t.name.len())
        .max()
        .unwrap_or_default()
        .max(4);
    let mut text = format!("{:width$}  {:8}  {:20}  STATE\n", "NAME", "ROLE", "CREATED");
    for token in tokens {
        let state = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {}", time(at)),
            (None, Some(end)) if end <= now => format!("expired {}", time(end)),
            (None, Some(end)) => format!("valid until {}", time(end)),
            (None, None) => "valid".to_owned(),
        };
        // Writing to a String does not fail.
        writeln!(
            text,
            "{:width$}  {:8}  {:20}  {state}",
            token.name,
            token.role.word(),
            time(token.created_at)
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times_are_checked() {
        for good in ["vera", "ci-1", "vera@example.org"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "admin",
            "unbounded:agent:node-1",
            "a b",
            ".a",
            &"a".repeat(64),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(ttl("8h"), Ok(Duration::from_hours(8)));
        assert!(ttl("0s").is_err() && ttl("-1h").is_err() && ttl("soon").is_err());
    }

    #[test]
    fn the_list_tells_the_state() {
        let now = Timestamp::UNIX_EPOCH;
        let token = access::minted("secret", "vera", TokenRole::Viewer, now);
        let ended = ApiToken {
            expires_at: Some(now),
            name: "old".into(),
            ..token.clone()
        };
        let text = table(&[token, ended], now);
        assert_eq!(
            text,
            "NAME  ROLE      CREATED               STATE\n\
             vera  viewer    1970-01-01 00:00:00Z  valid\n\
             old   viewer    1970-01-01 00:00:00Z  expired 1970-01-01 00:00:00Z\n"
        );
    }
}
