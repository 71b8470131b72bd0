//! The example file and the help texts, made from the definitions of the settings, so that each is
//! described once. Invariant: the example parses, and means the same as an empty file.

use std::fmt::Write as _;

use clap::{Arg, Args as _, Command};

use super::wire::{WireConfig, defaults, flag_of};

const HEAD: &str = "\
# Configuration of metalman. Every setting is shown with its default, or with what it looks like
# when it has none. Flags and environment win over this file; the flag is the key with hyphens.
# Secrets are never written here, only the names of files that hold them (*_file).
";

/// The text `metalman config example` prints.
pub fn example() -> String {
    let command = WireConfig::augment_args(Command::new("example"));
    let mut text = HEAD.to_owned();
    let mut section = "";
    for arg in command.get_arguments() {
        let key = arg.get_id().as_str();
        let (table, name) = key.split_once('.').unwrap_or(("", key));
        if table != section {
            push(&mut text, format_args!("\n[{table}]"));
            section = table;
        }
        push(&mut text, format_args!(""));
        for line in wrap(&help(arg), 96) {
            push(&mut text, format_args!("# {line}"));
        }
        let environment = arg.get_env().and_then(|name| name.to_str());
        let also = environment
            .map(|name| format!(", environment {name}"))
            .unwrap_or_default();
        push(&mut text, format_args!("# Flag {}{also}", flag_of(key)));
        match default_of(key) {
            Some(value) => push(&mut text, format_args!("{name} = {value}")),
            None => push(&mut text, format_args!("# {name} = {:?}", value_name(arg))),
        }
    }
    text
}

/// Adds the defaults to the help texts of the settings in `command`.
pub fn describe_defaults(command: Command) -> Command {
    command.mut_args(|arg| match default_of(arg.get_id().as_str()) {
        Some(value) => {
            let help = format!("{} [default: {value}]", help(&arg));
            arg.help(help)
        }
        None => arg,
    })
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    writeln!(text, "{line}").ok();
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

fn value_name(arg: &Arg) -> &str {
    arg.get_value_names()
        .and_then(|names| names.first())
        .map_or("", |name| name.as_str())
}

/// The default at a key path, written as TOML.
fn default_of(key: &str) -> Option<String> {
    let table = toml::Table::try_from(defaults()).ok()?;
    let value = match key.split_once('.') {
        Some((section, name)) => table.get(section)?.get(name)?,
        None => table.get(key)?,
    };
    Some(value.to_string())
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}
