//! Ten thousand hostile values judged by the programs that will read them: GRUB's own parser, a
//! shell and cloud-init's YAML library, besides our parsers.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngSeed, TestRunner},
};

use super::*;

const VALUES: usize = 10_000;

/// Values of every unpleasant kind; the same ones at every run.
fn values() -> Vec<String> {
    let config = Config {
        rng_seed: RngSeed::Fixed(7),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let strategy = prop_oneof![
        any::<String>(),
        "[-a-z0-9.'\"$;{}&|<>#\\\\ \t\n\r!*?~^%=(),:@`\u{e9}\u{1f600}\\x00]{0,40}",
        "['\"]{1,12}",
        "(\\$\\(reboot\\)|`reboot`|;reboot|\nreboot|\\$\\{x\\}|'; reboot; '|\"; reboot; \"|\\\\){1,3}",
    ];
    (0..VALUES)
        .map(|_| strategy.new_tree(&mut runner).expect("makes one").current())
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test switch of the whole project"
)]
fn missing(program: &str, package: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    if found.is_ok_and(|found| found.status.success()) {
        return false;
    }
    let reason = format!("{program} is not installed (package {package})");
    let strict = std::env::var("METALMAN_TEST_STRICT").as_deref() == Ok("1");
    assert!(!strict, "{reason}");
    eprintln!("SKIPPED: {reason}");
    true
}

fn run(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(input).unwrap();
    let output = Command::new(program)
        .args(arguments)
        .arg(file.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    output.stdout
}

/// Values that have a quoted form, with it; control characters have none and are refused.
fn quoted(quote: impl Fn(&str) -> Result<String, &'static str>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for value in values() {
        match quote(&value) {
            Ok(quoted) => pairs.push((value, quoted)),
            Err(_) => assert!(value.chars().any(char::is_control), "refuses {value:?}"),
        }
    }
    assert!(
        pairs.len() > VALUES / 4,
        "only {} values have a form",
        pairs.len()
    );
    pairs
}

#[test]
fn a_shell_gets_exactly_the_values() {
    let pairs = quoted(shell);
    let mut script = String::new();
    for (_, quoted) in &pairs {
        writeln!(script, "printf '%s\\0' {quoted}").unwrap();
    }
    run("sh", &["-n"], script.as_bytes());
    let printed = run("sh", &[], script.as_bytes());
    let printed: Vec<&[u8]> = printed.split(|byte| *byte == 0).collect();
    assert_eq!(printed.len(), pairs.len() + 1, "one word each");
    for ((value, quoted), printed) in pairs.iter().zip(printed) {
        assert_eq!(printed, value.as_bytes(), "{quoted}");
    }
}

#[test]
fn grub_parses_every_value_as_one_word_of_its_command() {
    if missing("grub-script-check", "grub-common") {
        return;
    }
    let pairs = quoted(grub);
    let mut script = String::new();
    for (value, quoted) in &pairs {
        // Were a value more than a word, these commands would not be closed.
        let line = format!("if true; then echo {quoted}; set x={quoted}; fi\n");
        let words = crate::fuzzing::grub_words(&line).expect("quotes are closed");
        let set = format!("x={value}");
        let want = [
            "if", "true", ";", "then", "echo", value, ";", "set", &set, ";", "fi", "\n",
        ];
        assert_eq!(words, want, "{quoted}");
        script.push_str(&line);
    }
    run("grub-script-check", &[], script.as_bytes());
}

#[test]
fn yaml_and_json_parsers_read_exactly_the_values() {
    let values = values();
    let quoted: Vec<String> = values.iter().map(|value| yaml_string(value)).collect();
    let list = format!("[{}]", quoted.join(", "));
    let read: Vec<String> = serde_json::from_str(&list).unwrap();
    assert!(read == values, "JSON");
    let document = format!("- {}\n", quoted.join("\n- "));
    let read: Vec<String> = yaml::from_str(&document).unwrap();
    assert!(read == values, "YAML");
    if missing("python3", "python3") {
        return;
    }
    // The library that cloud-init reads with, where it is installed.
    let check = "import sys\ntry: import yaml, json\nexcept ImportError: sys.exit(0)\n\
                 d = open(sys.argv[1], encoding='utf-8', newline='').read()\n\
                 assert yaml.safe_load(d) == json.loads(d)\nprint('read')";
    let said = run("python3", &["-c", check], list.as_bytes());
    if said.is_empty() {
        eprintln!("SKIPPED: PyYAML is not installed (package python3-yaml)");
    }
}

#[test]
fn linux_gets_one_argument_or_the_value_is_refused() {
    let mut passed = 0;
    for value in values() {
        let Ok(argument) = kernel_arg(&value) else {
            continue;
        };
        passed += 1;
        let line = format!("linux /vmlinuz a={} b=1\n", grub(&argument).unwrap());
        let words = crate::fuzzing::grub_words(&line).expect("quotes are closed");
        let want = format!("a={value}");
        assert_eq!(words, ["linux", "/vmlinuz", &want, "b=1", "\n"]);
        let arguments = crate::fuzzing::kernel_arguments(&words[2..4].join(" "));
        assert_eq!(arguments, [want, "b=1".to_owned()]);
    }
    assert!(passed > 50, "only {passed} values");
    for bad in [
        "a\nb", "a\0b", "a b", "a\tb", "a\"b", "a'b", "a\\b", "\u{e9}",
    ] {
        assert!(kernel_arg(bad).is_err(), "{bad:?}");
    }
}
