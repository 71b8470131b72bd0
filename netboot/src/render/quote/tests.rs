use proptest::prelude::*;

use super::*;

/// Splits one line the way GRUB's lexer does (grub-core/script, quoting part): blanks end a word,
/// `;`, `|`, `&`, `{`, `}`, `<`, `>` stand alone, `#` starts a comment at the start of a word.
fn grub_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut open) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                open = true;
                for c in chars.by_ref().take_while(|c| *c != '\'') {
                    word.push(c);
                }
            }
            '\\' => {
                open = true;
                word.extend(chars.next());
            }
            '"' | '$' => panic!("expansion in {line:?}"),
            ' ' | '\t' | ';' | '|' | '&' | '{' | '}' | '<' | '>' | '\n' => {
                if open {
                    words.push(std::mem::take(&mut word));
                    open = false;
                }
                if !matches!(c, ' ' | '\t') {
                    words.push(c.to_string());
                }
            }
            '#' if !open => break,
            c => {
                open = true;
                word.push(c);
            }
        }
    }
    if open {
        words.push(word);
    }
    words
}

/// Splits a command line the way the kernel does (lib/cmdline.c `next_arg`).
fn kernel_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.extend(Some(std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn a_name_cannot_bring_a_command_along() {
    let line = format!("echo {} end", grub("x; reboot' $root").unwrap());
    assert_eq!(grub_words(&line), ["echo", "x; reboot' $root", "end"]);
    assert!(grub("x\nreboot").is_err());
    assert!(kernel_arg("a b").is_err());
    assert!(kernel_arg("a\"b").is_err());
    assert_eq!(grub("").unwrap(), "''");
}

#[test]
fn a_comment_ends_where_the_line_ends() {
    assert!(comment("x\nreboot").is_err());
    assert!(comment("x\rreboot").is_err());
    assert_eq!(comment("node-1; $x").unwrap(), "node-1; $x");
}

proptest! {
    #[test]
    fn grub_reads_back_exactly_one_word(value in "\\PC{0,40}") {
        let quoted = grub(&value).unwrap();
        prop_assert!(!quoted.contains('\n'));
        let line = format!("set x={quoted} ; echo {quoted}");
        let words = grub_words(&line);
        prop_assert_eq!(words, ["set".to_owned(), format!("x={value}"), ";".to_owned(), "echo".to_owned(), value]);
    }

    #[test]
    fn kernel_and_grub_together_keep_one_argument(value in "[ -~]{0,40}") {
        if let Ok(argument) = kernel_arg(&value) {
            let line = format!("linux /vmlinuz a={} b=1", grub(&argument).unwrap());
            let words = grub_words(&line);
            prop_assert_eq!(words.len(), 4);
            let command_line = words[2..].join(" ");
            prop_assert_eq!(kernel_words(&command_line), [format!("a={value}"), "b=1".to_owned()]);
        }
    }

    #[test]
    fn quoting_never_panics_and_never_adds_a_line(value in any::<String>()) {
        for quoted in [grub(&value), shell(&value), kernel_arg(&value), comment(&value)].into_iter().flatten() {
            prop_assert!(!quoted.contains(['\n', '\r', '\0']));
        }
    }

    #[test]
    fn yaml_and_json_read_back_the_same_string(value in any::<String>()) {
        let quoted = yaml_string(&value);
        let ends_a_line = |c: char| c.is_control() || ['\u{2028}', '\u{2029}'].contains(&c);
        prop_assert!(!quoted.chars().any(ends_a_line));
        let read: String = yaml::from_str(&quoted).unwrap();
        prop_assert_eq!(&read, &value);
        let read: String = serde_json::from_str(&quoted).unwrap();
        prop_assert_eq!(read, value);
    }

    #[test]
    fn a_posix_shell_reads_back_exactly_one_word(value in "\\PC{0,40}") {
        // Of the shell's rules only those of single quotes and backslashes are used, and GRUB's
        // are the same.
        let words = grub_words(&format!("echo {}", shell(&value).unwrap()));
        prop_assert_eq!(words, ["echo".to_owned(), value]);
    }
}
