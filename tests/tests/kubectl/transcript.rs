//! Runs the commands with each kubectl on each server, and compares.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use metalman_tests::apis::{Embedded, Endpoint, Reference, assets};
use tokio::process::Command;

use crate::normal::normal;

const COMMANDS: &str = include_str!("../../kubectl/commands");
const DIFFERENCES: &str = include_str!("../../kubectl/differences");
/// kubectl waits for a timeout at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line of the commands.
struct Line {
    text: &'static str,
    /// The first minor version of kubectl that knows it.
    since: u32,
    fails: bool,
    editor: Option<&'static str>,
    words: Vec<String>,
}

/// What one command did.
#[derive(PartialEq, Eq)]
struct Said {
    success: bool,
    text: String,
}

struct Known {
    version: &'static str,
    start: &'static str,
    reason: &'static str,
}

impl Known {
    /// `*` is every kubectl, `!1.20` every other one.
    fn is_for(&self, version: &str) -> bool {
        match self.version.strip_prefix('!') {
            Some(other) => other != version,
            None => self.version == "*" || self.version == version,
        }
    }
}

fn lines() -> Vec<Line> {
    let lines = COMMANDS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|text| {
            let (since, text) = match text
                .strip_prefix("@since 1.")
                .and_then(|r| r.split_once(' '))
            {
                Some((minor, rest)) => (minor.parse().expect("a minor version"), rest),
                None => (0, text),
            };
            let (fails, rest) = match text.strip_prefix("! ") {
                Some(rest) => (true, rest),
                None => (false, text),
            };
            let (editor, rest) = match rest.strip_prefix("@edit ").and_then(|r| r.split_once(' ')) {
                Some((script, rest)) => (Some(script), rest),
                None => (None, rest),
            };
            let words = rest
                .split(' ')
                .map(|word| word.replace('\u{a0}', " "))
                .collect();
            Line {
                text,
                since,
                fails,
                editor,
                words,
            }
        })
        .collect()
}

/// The lines that a kubectl of this version knows.
fn lines_for(version: &str) -> Vec<Line> {
    let minor = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok());
    let minor: u32 = minor.expect("a minor version");
    let mut lines = lines();
    lines.retain(|line| line.since <= minor);
    lines
}

fn known() -> Vec<Known> {
    let rows = DIFFERENCES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| {
        let mut cells = row.splitn(3, '|').map(str::trim);
        let mut next = || cells.next().unwrap_or_default();
        Known {
            version: next(),
            start: next(),
            reason: next(),
        }
    })
    .collect()
}

/// The kubectls of `METALMAN_KUBECTLS` (paths with colons between), or the one on the PATH.
fn kubectls() -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the environment of the test run")]
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(list) = variable("METALMAN_KUBECTLS") {
        return list.split(':').map(PathBuf::from).collect();
    }
    let path = variable("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .map(|dir| Path::new(dir).join("kubectl"))
        .find(|file| file.exists());
    let strict = variable("METALMAN_TEST_STRICT").as_deref() == Some("1");
    assert!(
        found.is_some() || !strict,
        "kubectl is not on the PATH and METALMAN_TEST_STRICT is set"
    );
    found.into_iter().collect()
}

async fn version(kubectl: &Path) -> String {
    let output = Command::new(kubectl)
        .args(["version", "--client", "-o", "json"])
        .output()
        .await
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let version = json["clientVersion"]["gitVersion"]
        .as_str()
        .unwrap_or_default();
    version
        .trim_start_matches('v')
        .split('.')
        .take(2)
        .collect::<Vec<_>>()
        .join(".")
}

async fn run(kubectl: &Path, endpoint: &Endpoint, line: &Line, home: &Path) -> Said {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubectl/files");
    let mut command = Command::new(kubectl);
    command
        .args(&line.words)
        .current_dir(files)
        .env("KUBECONFIG", &endpoint.kubeconfig);
    command
        .env("HOME", home)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(script) = line.editor {
        command.env("KUBE_EDITOR", format!("sed -i {script}"));
    }
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .expect(line.text)
        .unwrap();
    let text = |bytes: &[u8]| normal(&String::from_utf8_lossy(bytes));
    Said {
        success: output.status.success(),
        text: format!("{}{}", text(&output.stdout), text(&output.stderr)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_cannot_tell_the_servers_apart() {
    let kubectls = kubectls();
    if kubectls.is_empty() {
        eprintln!("SKIPPED: kubectl is not on the PATH");
        return;
    }
    let (mut summary, mut bad) = (String::new(), Vec::new());
    for kubectl in &kubectls {
        let embedded = Embedded::start().await.unwrap();
        let reference = match assets() {
            Some(assets) => Some(Reference::start(&assets).await.unwrap()),
            None => None,
        };
        let version = version(kubectl).await;
        let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (mut count, mut same, mut explained, mut unknown) = (0, 0, 0, 0);
        for line in lines_for(&version) {
            count += 1;
            let known = known();
            let reason = known
                .iter()
                .find(|k| k.is_for(&version) && line.text.starts_with(k.start));
            let ours = run(kubectl, &embedded.endpoint, &line, homes[0].path()).await;
            if ours.success == line.fails && reason.is_none() {
                bad.push(format!("kubectl {version} {}\n{}", line.text, ours.text));
            }
            let Some(reference) = &reference else {
                continue;
            };
            let theirs = run(kubectl, &reference.endpoint, &line, homes[1].path()).await;
            match (ours == theirs, reason) {
                (true, None) => same += 1,
                (true, Some(_)) => {
                    same += 1;
                    bad.push(format!(
                        "kubectl {version} {}: no longer differs",
                        line.text
                    ));
                }
                (false, Some(known)) => {
                    explained += 1;
                    writeln!(
                        summary,
                        "  known   {version} {}: {}",
                        line.text, known.reason
                    )
                    .unwrap();
                }
                (false, None) => {
                    unknown += 1;
                    bad.push(format!(
                        "kubectl {version} {}\n{}",
                        line.text,
                        difference(&ours, &theirs)
                    ));
                }
            }
        }
        writeln!(
            summary,
            "kubectl {version}: {count} commands, {same} same, {explained} known differences, {unknown} unknown"
        )
        .unwrap();
        embedded.stop().await.unwrap();
        match reference {
            Some(server) => server.stop().await.unwrap(),
            None => writeln!(
                summary,
                "NOT COMPARED with a real server: KUBEBUILDER_ASSETS is not set"
            )
            .unwrap(),
        }
    }
    eprintln!("{summary}");
    assert!(
        bad.is_empty(),
        "{} commands (- real server, + embedded API):\n{}",
        bad.len(),
        bad.join("\n")
    );
}

fn difference(ours: &Said, theirs: &Said) -> String {
    let text = |said: &Said| format!("success: {}\n{}", said.success, said.text);
    let diff = similar::TextDiff::from_lines(&text(theirs), &text(ours))
        .unified_diff()
        .context_radius(1)
        .to_string();
    let lines: Vec<&str> = diff.lines().collect();
    format!("    {}\n", lines.join("\n    "))
}
