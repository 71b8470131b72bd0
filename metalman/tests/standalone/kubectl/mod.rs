//! The embedded API as an unmodified kubectl sees it.
//!
//! Without kubectl on the PATH this skips aloud; with METALMAN_TEST_STRICT=1 it fails instead.

mod objects;
mod server;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::harness::{self, Running};

/// kubectl against a running API.
pub(super) struct Kubectl {
    pub(super) running: Running,
    pub(super) kubeconfig: PathBuf,
}

impl Kubectl {
    pub(super) async fn start() -> Option<Self> {
        let found = Command::new("kubectl")
            .args(["version", "--client"])
            .output()
            .await;
        if !found.is_ok_and(|output| output.status.success()) {
            let strict = harness::is_strict();
            assert!(
                !strict,
                "kubectl is not on the PATH and METALMAN_TEST_STRICT is set"
            );
            eprintln!("SKIPPED: kubectl is not on the PATH");
            return None;
        }
        let running = Running::start().await;
        let kubeconfig = running.directory.path().join("kubeconfig");
        let url = running.api.local_url();
        running.api.write_kubeconfig(&kubeconfig, &url).unwrap();
        Some(Self {
            running,
            kubeconfig,
        })
    }

    pub(super) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(
                line.split_whitespace()
                    .map(|word| word.replace('\u{a0}', " ")),
            )
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.running.directory.path())
            .kill_on_drop(true);
        command
    }

    pub(super) async fn run(&self, line: &str) -> Output {
        let output = self.command(line).stdin(Stdio::null()).output();
        tokio::time::timeout(Duration::from_secs(60), output)
            .await
            .expect(line)
            .unwrap()
    }

    /// Standard output of a command that must succeed.
    pub(super) async fn ok(&self, line: &str) -> String {
        let output = self.run(line).await;
        let (out, err) = texts(&output);
        assert!(output.status.success(), "kubectl {line}\n{out}{err}");
        assert_eq!(err, "", "kubectl {line}");
        out
    }

    /// Standard error of a command that must fail.
    pub(super) async fn fails(&self, line: &str) -> String {
        let output = self.run(line).await;
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "kubectl {line}\n{out}{err}");
        err
    }

    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.running.directory.path().join(name);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        path.display().to_string()
    }
}

pub(super) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Lines with runs of blanks as one, as a person reads a table.
pub(super) fn table(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

pub(super) const OPERATION: &str = "\
apiVersion: unbounded-cloud.io/v1alpha3
kind: MachineOperation
metadata:
  name: reboot-worker-01
spec:
  machineRef: worker-01
  operationKind: HostReboot
";

pub(super) const MACHINE: &str = "\
apiVersion: unbounded-cloud.io/v1alpha3
kind: Machine
metadata:
  name: worker-01
  labels:
    unbounded-cloud.io/site: lab
spec:
  pxe:
    image: oci-layout:/images/host
    dhcpLeases:
    - mac: 52:54:00:77:00:11
      ipv4: 10.77.0.11
      subnetMask: 255.255.255.0
      gateway: 10.77.0.1
";
