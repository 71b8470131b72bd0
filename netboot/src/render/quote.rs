//! Quoting for the languages our templates are written in.
//!
//! Pure text functions. Invariant: reading the quoted text back with the language's own rules
//! gives exactly the value, as one word on one line; a value for which that cannot be done is
//! refused.

use std::fmt::Write as _;

/// Quotes one word for GRUB's script language: single quotes keep everything but themselves
/// (GRUB manual, "Quoting"). Words without special characters stay as they are.
pub(crate) fn grub(value: &str) -> Result<String, &'static str> {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | ':' | ',' | '-');
    if !value.is_empty() && value.chars().all(plain) {
        return Ok(value.to_owned());
    }
    single_quoted(value)
}

/// Quotes one word for a POSIX shell (IEEE 1003.1, XCU 2.2.2).
pub(crate) fn shell(value: &str) -> Result<String, &'static str> {
    single_quoted(value)
}

fn single_quoted(value: &str) -> Result<String, &'static str> {
    if value.chars().any(char::is_control) {
        return Err("has control characters, which cannot be quoted");
    }
    Ok(format!("'{}'", value.replace('\'', r"'\''")))
}

/// Accepts a value that may stand in a kernel argument as it is: printable ASCII without white
/// space, quotes and backslashes. The kernel knows no escape, so anything else is refused.
pub(crate) fn kernel_arg(value: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\');
    if value.chars().all(fits) {
        Ok(value.to_owned())
    } else {
        Err("has characters that a kernel argument cannot carry")
    }
}

/// Accepts text for the rest of a comment line.
pub(crate) fn comment(value: &str) -> Result<String, &'static str> {
    if value
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}'))
    {
        return Err("has control characters, which could end the comment");
    }
    Ok(value.to_owned())
}

/// A string that YAML (1.2.2, 7.3.1, double-quoted scalar) and JSON (RFC 8259, section 7) read alike.
/// What both know as one escape is escaped; what lies beyond 16 bits stays as it is.
pub(crate) fn yaml_string(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        // Writing to a String cannot fail.
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(c),
            c if u32::from(c) <= 0xffff => write!(quoted, "\\u{:04x}", u32::from(c)).unwrap_or(()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod programs;
#[cfg(test)]
mod tests;
