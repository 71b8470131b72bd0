//! `metalman bmc set-password MACHINE`: the appliance changes account and Secret; a generated password
//! is never printed, since the Secret has it.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::appliance::{ApplianceArgs, read_secret};
use crate::{cli::print, web::bmc::PasswordSet};

/// Length of a generated password: the longest that IPMI 2.0 knows.
const LENGTH: usize = 20;
/// Letters and digits that are not mistaken for each other, and signs that shells leave alone.
const KINDS: [&[u8]; 4] = [
    b"ABCDEFGHJKLMNPQRSTUVWXYZ",
    b"abcdefghijkmnopqrstuvwxyz",
    b"23456789",
    b"-_.+",
];

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("new").required(true))]
pub(in crate::cli) struct PasswordArgs {
    /// Name of the Machine
    machine: String,
    /// File that holds the new password; - reads standard input
    #[arg(long, value_name = "FILE", group = "new")]
    password_file: Option<PathBuf>,
    /// Make a password of 20 characters
    #[arg(long, group = "new")]
    generate: bool,
    #[command(flatten)]
    appliance: ApplianceArgs,
}

/// # Errors
/// When the password was not changed, or that is not known yet.
pub(super) async fn run(args: PasswordArgs) -> Result<()> {
    let password = match &args.password_file {
        Some(file) => read_secret(file, "--password-file")?,
        None => generate(),
    };
    let appliance = args.appliance.open()?;
    let body = json!({ "password": password.expose_secret() });
    let set: PasswordSet = appliance.put(&args.machine, &["password"], &body).await?;
    print(&format!(
        "password of the BMC of {} changed; it is in Secret {}\n",
        args.machine, set.secret
    ))
}

/// A password with characters of every kind.
fn generate() -> SecretString {
    let all = KINDS.concat();
    loop {
        // 6 bits are enough for any character; what is beyond the last is thrown away.
        let chosen = std::iter::repeat_with(rand::random::<u8>)
            .filter_map(|byte| all.get(usize::from(byte & 63)).copied());
        let password: Vec<u8> = chosen.take(LENGTH).collect();
        let has = |kind: &[u8]| password.iter().any(|byte| kind.contains(byte));
        if KINDS.iter().all(|kind| has(kind)) {
            return String::from_utf8_lossy(&password).into_owned().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_has_every_kind_and_is_new_each_time() {
        assert!(KINDS.concat().len() <= 64);
        let (one, other) = (generate(), generate());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!(one.expose_secret().len(), LENGTH);
        for kind in KINDS {
            assert!(one.expose_secret().bytes().any(|byte| kind.contains(&byte)));
        }
    }
}
