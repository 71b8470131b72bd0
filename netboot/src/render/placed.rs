//! Whether quoted text stands where its filter meant it to: a shell-quoted word inside double
//! quotes is not quoted at all.
//!
//! Reads marked text (see [`super::quoted::Quoted::marked`]) by the rules of the file's language;
//! what machines get is never marked. Invariant: text that passes has every quoted word outside
//! quotes, every comment inside a comment, and no quote left open.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;

use super::quoted::{END, Filter};

/// What is wrong, and on which line of the rendered text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misplaced {
    pub(super) line: usize,
    pub(super) problem: String,
}

/// Checks the marked rendering of `template`; returns it without marks.
pub(super) fn check(template: &str, marked: &str) -> Result<String, Misplaced> {
    let name = template.trim_end_matches(super::set::SUFFIX);
    let ending = Path::new(name).extension().and_then(OsStr::to_str);
    match ending {
        Some("cfg") => script(marked, Filter::Grub)?,
        Some("sh") => script(marked, Filter::Shell)?,
        _ if name.starts_with("cloud-init/") => seed(marked)?,
        _ => {}
    }
    Ok(plain(marked))
}

fn plain(marked: &str) -> String {
    marked
        .chars()
        .filter(|c| *c != END && Filter::of(*c).is_none())
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    Single,
    Double,
    Comment,
}

/// GRUB and POSIX shells agree on quotes and comments.
fn script(marked: &str, language: Filter) -> Result<(), Misplaced> {
    let (mut state, mut line, mut opened) = (State::Plain, 1, 1);
    let mut word_starts = true;
    let mut chars = marked.chars();
    while let Some(c) = chars.next() {
        if let Some(filter) = Filter::of(c) {
            fits(filter, language, state).map_err(|problem| Misplaced { line, problem })?;
            let inside: String = chars.by_ref().take_while(|c| *c != END).collect();
            line += inside.matches('\n').count();
            word_starts = false;
            continue;
        }
        state = match (state, c) {
            (State::Plain | State::Double, '\\') => {
                line += usize::from(chars.next() == Some('\n'));
                state
            }
            (State::Plain, '\'') => State::Single,
            (State::Plain, '"') => State::Double,
            (State::Plain, '#') if word_starts => State::Comment,
            (State::Single, '\'') | (State::Double, '"') | (State::Comment, '\n') => State::Plain,
            (state, _) => state,
        };
        if matches!(c, '\'' | '"') && matches!(state, State::Single | State::Double) {
            opened = line;
        }
        line += usize::from(c == '\n');
        word_starts = c.is_whitespace() || matches!(c, ';' | '|' | '&' | '(' | ')' | '{' | '}');
    }
    match state {
        State::Plain | State::Comment => Ok(()),
        State::Single | State::Double => Err(Misplaced {
            line: opened,
            problem: "a quote is never closed".to_owned(),
        }),
    }
}

fn fits(filter: Filter, language: Filter, state: State) -> Result<(), String> {
    let name = filter.name();
    match (filter, state) {
        (Filter::Verbatim, _) | (Filter::Comment, State::Comment) => Ok(()),
        (Filter::Comment, _) => Err("a value with | comment stands outside a comment".to_owned()),
        (_, State::Comment) => Err(format!(
            "a value with | {name} stands in a comment; use | comment"
        )),
        (filter, State::Plain) if filter == language => Ok(()),
        (filter, _) if filter != language => Err(format!(
            "a value with | {name} stands in a file that wants | {}",
            language.name()
        )),
        (_, _) => Err(format!(
            "a value with | {name} stands inside quotes, which undoes its own; take the quotes away"
        )),
    }
}

/// Cloud-init's files are YAML, except for user data of other kinds.
fn seed(marked: &str) -> Result<(), Misplaced> {
    for (index, text) in marked.lines().enumerate() {
        let found = text
            .chars()
            .filter_map(Filter::of)
            .find(|filter| matches!(filter, Filter::Grub | Filter::Shell));
        if let Some(filter) = found {
            return Err(Misplaced {
                line: index + 1,
                problem: format!(
                    "a value with | {} stands in a file that wants | yaml",
                    filter.name()
                ),
            });
        }
    }
    let text = plain(marked);
    let is_yaml = !text.starts_with('#') || text.starts_with("#cloud-config");
    let read: Result<Option<Value>, _> = yaml::from_str(&text);
    match read {
        Err(error) if is_yaml => Err(Misplaced {
            line: error
                .location()
                .map_or(1, |found| usize::try_from(found.line()).unwrap_or(1)),
            problem: "the result is not YAML; is a value with | yaml inside quotes?".to_owned(),
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<` and `>` stand for the marks of this filter.
    fn checked(template: &str, filter: char, text: &str) -> Result<(), usize> {
        let marked = text
            .replace('<', &filter.to_string())
            .replace('>', &END.to_string());
        check(template, &marked)
            .map(drop)
            .map_err(|found| found.line)
    }

    const GRUB: char = '\u{fdd1}';
    const SHELL: char = '\u{fdd2}';
    const YAML: char = '\u{fdd3}';
    const COMMENT: char = '\u{fdd4}';
    const VERBATIM: char = '\u{fdd5}';

    #[test]
    fn a_quoted_word_stands_outside_quotes() {
        for (filter, text, want) in [
            (GRUB, "echo <'a b'> x", Ok(())),
            (GRUB, "a\necho \"hello <'a b'>\"", Err(2)),
            (GRUB, "echo 'it''s' <x>", Ok(())),
            (GRUB, "echo 'a <x>'", Err(1)),
            (GRUB, "echo \"a \\\" <x>\"", Err(1)),
            (GRUB, "# it's\necho <x>", Ok(())),
            (GRUB, "# about <x>", Err(1)),
            (GRUB, "a=b#<x>", Ok(())),
            (COMMENT, "# about <x y>\n", Ok(())),
            (COMMENT, "echo <x y>", Err(1)),
            (COMMENT, "echo \"# <x y>\"", Err(1)),
            (YAML, "echo <x>", Err(1)),
            (SHELL, "echo <x>", Err(1)),
            (VERBATIM, "echo \"<x>\"", Ok(())),
            (GRUB, "a\necho 'x", Err(2)),
        ] {
            assert_eq!(checked("grub/x.cfg.j2", filter, text), want, "{text}");
        }
        assert_eq!(checked("init.sh.j2", SHELL, "echo <x>"), Ok(()));
        assert_eq!(checked("init.sh.j2", GRUB, "echo <x>"), Err(1));
    }

    #[test]
    fn a_seed_is_yaml_also_with_hostile_values() {
        for (filter, text, want) in [
            (YAML, "a: <\"x: \\\"#1\\\"\">\n", Ok(())),
            (YAML, "a: 1\nb: \"<\"x: \\\"#1\\\"\">\"\n", Err(2)),
            (GRUB, "a: <x>\n", Err(1)),
            (VERBATIM, "<#!/bin/sh\na: b: c>", Ok(())),
            (VERBATIM, "", Ok(())),
        ] {
            assert_eq!(
                checked("cloud-init/meta-data.j2", filter, text),
                want,
                "{text}"
            );
        }
    }
}
