//! The embedded API as an unmodified kubectl sees it.
//!
//! Without kubectl on the PATH this skips aloud; with METALMAN_TEST_STRICT=1 it fails instead.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::harness::{self, Running};

/// kubectl against a running API.
struct Kubectl {
    running: Running,
    kubeconfig: PathBuf,
}

impl Kubectl {
    async fn start() -> Option<Self> {
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

    fn command(&self, line: &str) -> Command {
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

    async fn run(&self, line: &str) -> Output {
        let output = self.command(line).stdin(Stdio::null()).output();
        tokio::time::timeout(Duration::from_secs(60), output)
            .await
            .expect(line)
            .unwrap()
    }

    /// Standard output of a command that must succeed.
    async fn ok(&self, line: &str) -> String {
        let output = self.run(line).await;
        let (out, err) = texts(&output);
        assert!(output.status.success(), "kubectl {line}\n{out}{err}");
        assert_eq!(err, "", "kubectl {line}");
        out
    }

    /// Standard error of a command that must fail.
    async fn fails(&self, line: &str) -> String {
        let output = self.run(line).await;
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "kubectl {line}\n{out}{err}");
        err
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.running.directory.path().join(name);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        path.display().to_string()
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Lines with runs of blanks as one, as a person reads a table.
fn table(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

const OPERATION: &str = "\
apiVersion: unbounded-cloud.io/v1alpha3
kind: MachineOperation
metadata:
  name: reboot-worker-01
spec:
  machineRef: worker-01
  operationKind: HostReboot
";

const MACHINE: &str = "\
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

#[tokio::test]
async fn apply_creates_changes_and_leaves_alone() {
    let Some(kubectl) = Kubectl::start().await else {
        return;
    };
    let machine = kubectl.file("machine.yaml", MACHINE);
    let operation = kubectl.file("operation.yaml", OPERATION);
    let out = kubectl
        .ok(&format!("apply -f {machine} -f {operation}"))
        .await;
    assert_eq!(
        table(&out),
        [
            "machine.unbounded-cloud.io/worker-01 created",
            "machineoperation.unbounded-cloud.io/reboot-worker-01 created"
        ]
    );
    let out = kubectl.ok(&format!("apply -f {machine}")).await;
    assert_eq!(
        table(&out),
        ["machine.unbounded-cloud.io/worker-01 unchanged"]
    );
    let changed = kubectl.file(
        "changed.yaml",
        &MACHINE.replace("/images/host", "/images/other"),
    );
    let out = kubectl.ok(&format!("apply -f {changed}")).await;
    assert_eq!(
        table(&out),
        ["machine.unbounded-cloud.io/worker-01 configured"]
    );
    let diff = kubectl.run(&format!("diff -f {machine}")).await;
    assert!(
        texts(&diff)
            .0
            .contains("+    image: oci-layout:/images/host"),
        "{:?}",
        texts(&diff)
    );

    kubectl.running.stop().await;
}

#[tokio::test]
async fn get_shows_tables_and_objects() {
    let Some(kubectl) = Kubectl::start().await else {
        return;
    };
    let machine = kubectl.file("machine.yaml", MACHINE);
    let operation = kubectl.file("operation.yaml", OPERATION);
    kubectl
        .ok(&format!("apply -f {machine} -f {operation}"))
        .await;
    let out = table(&kubectl.ok("get mop").await);
    assert_eq!(out[0], "NAME KIND MACHINE PHASE AGE");
    assert!(
        out[1].starts_with("reboot-worker-01 HostReboot worker-01"),
        "{out:?}"
    );
    let out = table(&kubectl.ok("get machines,mop -o wide").await);
    assert!(out[0].starts_with("NAME SITE PHASE"), "{out:?}");
    let out = kubectl.ok("get mach worker-01 -o yaml").await;
    assert!(out.contains("image: oci-layout:/images/host"), "{out}");
    let out = kubectl
        .ok("get mach worker-01 -o jsonpath={.metadata.generation}")
        .await;
    assert_eq!(out, "1");
    let out = kubectl
        .ok("get mach -l unbounded-cloud.io/site=lab -o name")
        .await;
    assert_eq!(table(&out), ["machine.unbounded-cloud.io/worker-01"]);
    let out = kubectl
        .ok("get mop --field-selector spec.machineRef=worker-01 -o name")
        .await;
    assert_eq!(
        table(&out),
        ["machineoperation.unbounded-cloud.io/reboot-worker-01"]
    );
    let empty = kubectl
        .run("get secrets,configmaps,nodes,events,leases -A")
        .await;
    assert_eq!(
        texts(&empty),
        (String::new(), "No resources found\n".to_owned())
    );

    let out = kubectl.ok("delete mop reboot-worker-01").await;
    assert_eq!(
        table(&out),
        ["machineoperation.unbounded-cloud.io \"reboot-worker-01\" deleted"]
    );
    let err = kubectl.fails("get mop reboot-worker-01").await;
    assert!(
        err.contains(
            "(NotFound): machineoperations.unbounded-cloud.io \"reboot-worker-01\" not found"
        ),
        "{err}"
    );
    kubectl.running.stop().await;
}

#[tokio::test]
async fn label_annotate_patch_wait_describe() {
    let Some(kubectl) = Kubectl::start().await else {
        return;
    };
    let machine = kubectl.file("machine.yaml", MACHINE);
    let operation = kubectl.file("operation.yaml", OPERATION);
    kubectl
        .ok(&format!("apply -f {machine} -f {operation}"))
        .await;
    kubectl.ok("label mach worker-01 rack=7").await;
    kubectl.ok("annotate mach worker-01 note=hello").await;
    kubectl
        .ok(r#"patch mach worker-01 --type=merge -p {"spec":{"provider":"one"}}"#)
        .await;
    kubectl
        .ok(r#"patch mach worker-01 --type=json -p [{"op":"replace","path":"/spec/provider","value":"two"}]"#)
        .await;
    let out = kubectl
        .ok("get mach worker-01 -o jsonpath={.metadata.labels.rack}/{.metadata.annotations.note}/{.spec.provider}")
        .await;
    assert_eq!(out, "7/hello/two");
    let err = kubectl
        .fails(r#"patch mach worker-01 -p {"spec":{"provider":"one"}}"#)
        .await;
    assert!(err.contains("application/merge-patch+json"), "{err}");

    let mut wait = kubectl
        .command("wait mop/reboot-worker-01 --for=jsonpath={.status.phase}=Complete --timeout=30s");
    let waiting = wait.stdout(Stdio::piped()).spawn().unwrap();
    kubectl
        .ok(r#"patch mop reboot-worker-01 --subresource=status --type=merge -p {"status":{"phase":"Complete","message":"done"}}"#)
        .await;
    let waited = waiting.wait_with_output().await.unwrap();
    assert!(waited.status.success());
    assert!(texts(&waited).0.contains("condition met"));

    let event = kubectl.file(
        "event.yaml",
        "apiVersion: v1\nkind: Event\nmetadata:\n  name: e1\n  namespace: default\ninvolvedObject:\n  kind: Machine\n  name: worker-01\n  apiVersion: unbounded-cloud.io/v1alpha3\nreason: PoweredOn\nmessage: power is on\ntype: Normal\nfirstTimestamp: 2026-01-01T00:00:00Z\nlastTimestamp: 2026-01-01T00:00:00Z\ncount: 1\n",
    );
    kubectl.ok(&format!("create -f {event}")).await;
    let out = table(&kubectl.ok("get events").await);
    assert_eq!(out[0], "LAST SEEN TYPE REASON OBJECT MESSAGE");
    assert!(
        out[1].ends_with("Normal PoweredOn machine/worker-01 power is on"),
        "{out:?}"
    );
    let out = kubectl.ok("describe mach worker-01").await;
    for part in ["Name:         worker-01", "rack=7", "Provider:", "Events:"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    kubectl.running.stop().await;
}

#[tokio::test]
async fn get_watch_prints_changes() {
    let Some(kubectl) = Kubectl::start().await else {
        return;
    };
    let operation = kubectl.file("operation.yaml", OPERATION);
    kubectl.ok(&format!("apply -f {operation}")).await;
    let mut watch = kubectl
        .command("get mop -w")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        table(&line.unwrap().unwrap().unwrap()).concat()
    };
    assert_eq!(next().await, "NAME KIND MACHINE PHASE AGE");
    assert!(
        next()
            .await
            .starts_with("reboot-worker-01 HostReboot worker-01")
    );
    for phase in ["InProgress", "Complete"] {
        let patch = format!(r#"{{"status":{{"phase":"{phase}"}}}}"#);
        kubectl
            .ok(&format!(
                "patch mop reboot-worker-01 --subresource=status --type=merge -p {patch}"
            ))
            .await;
        let line = next().await;
        let expected = format!("reboot-worker-01 HostReboot worker-01 {phase}");
        assert!(line.starts_with(&expected), "{line}");
    }
    watch.kill().await.unwrap();
    kubectl.running.stop().await;
}

#[tokio::test]
async fn bad_input_is_told_well() {
    let Some(kubectl) = Kubectl::start().await else {
        return;
    };
    let wrong = kubectl.file("wrong.yaml", &OPERATION.replace("HostReboot", "Explode"));
    let err = kubectl.fails(&format!("apply -f {wrong}")).await;
    let start = "The MachineOperation \"reboot-worker-01\" is invalid: \n\
                 * spec.operationKind: Unsupported value: \"Explode\": supported values: ";
    assert!(err.starts_with(start), "{err}");
    let typo = kubectl.file("typo.yaml", &OPERATION.replace("machineRef", "machineReff"));
    let err = kubectl.fails(&format!("apply -f {typo}")).await;
    assert!(
        err.contains("strict decoding error: unknown field \"spec.machineReff\""),
        "{err}"
    );
    let operation = kubectl.file("operation.yaml", OPERATION);
    kubectl.ok(&format!("apply -f {operation}")).await;
    let changed = kubectl.file(
        "changed.yaml",
        &OPERATION.replace("HostReboot", "HostPowerOff"),
    );
    let err = kubectl.fails(&format!("apply -f {changed}")).await;
    assert!(
        err.contains("The MachineOperation \"reboot-worker-01\" is invalid: spec"),
        "{err}"
    );
    let err = kubectl.fails("get pods").await;
    assert!(
        err.contains("the server doesn't have a resource type \"pods\""),
        "{err}"
    );
    let err = kubectl
        .fails("get mop --field-selector spec.nonsense=1")
        .await;
    assert!(
        err.contains("field label not supported: spec.nonsense"),
        "{err}"
    );
    kubectl.running.stop().await;
}

#[tokio::test]
async fn discovery_explain_and_access() {
    let Some(kubectl) = Kubectl::start().await else {
        return;
    };
    let out = table(&kubectl.ok("api-resources").await);
    for line in [
        "machines mach unbounded-cloud.io/v1alpha3 false Machine",
        "machineoperations mop unbounded-cloud.io/v1alpha3 false MachineOperation",
        "secrets v1 true Secret",
        "leases coordination.k8s.io/v1 true Lease",
    ] {
        assert!(out.iter().any(|l| l == line), "{line}\n{out:#?}");
    }
    assert!(
        kubectl
            .ok("api-versions")
            .await
            .contains("unbounded-cloud.io/v1alpha3")
    );
    let out = kubectl.ok("explain mop.spec.operationKind").await;
    assert!(
        out.contains("KIND:       MachineOperation") && out.contains("HostReplace"),
        "{out}"
    );
    assert!(
        kubectl
            .ok("explain machine.spec --recursive")
            .await
            .contains("dhcpLeases")
    );
    assert!(kubectl.ok("explain secret").await.contains("stringData"));
    assert_eq!(kubectl.ok("auth can-i create secrets").await.trim(), "yes");
    assert!(kubectl.ok("auth whoami").await.contains("admin"));
    assert!(kubectl.ok("get --raw /readyz").await.contains("ok"));
    kubectl.running.stop().await;
}

#[tokio::test]
async fn can_i_and_refusals_of_roles() {
    let Some(mut kubectl) = Kubectl::start().await else {
        return;
    };
    let machine = kubectl.file("machine.yaml", MACHINE);
    kubectl.ok(&format!("apply -f {machine}")).await;
    let as_viewer = "--as=vera --as-group=unbounded:viewers";
    let err = kubectl
        .fails(&format!("auth can-i -A delete machines {as_viewer}"))
        .await;
    assert_eq!(err, "");
    assert_eq!(
        kubectl
            .ok(&format!("auth can-i -A list machines {as_viewer}"))
            .await
            .trim(),
        "yes"
    );

    let viewer = kubectl
        .running
        .user("vera", metalman::store::TokenRole::Viewer)
        .await;
    let text = metalman::standalone::kubeconfig::kubeconfig_value(&viewer).to_string();
    kubectl.kubeconfig = kubectl.file("viewer.kubeconfig", &text).into();
    assert!(
        kubectl
            .ok("auth whoami")
            .await
            .contains("unbounded:viewers")
    );
    kubectl.ok("get machines").await;
    assert_eq!(
        kubectl.fails("delete machine worker-01").await,
        "Error from server (Forbidden): machines.unbounded-cloud.io \"worker-01\" is forbidden: \
         User \"vera\" cannot delete resource \"machines\" in API group \"unbounded-cloud.io\" at \
         the cluster scope\n"
    );
    let err = kubectl.fails("get secrets -n default").await;
    assert_eq!(
        err,
        "Error from server (Forbidden): secrets is forbidden: User \"vera\" cannot list resource \
         \"secrets\" in API group \"\" in the namespace \"default\"\n"
    );
    for (question, answer) in [
        ("list machines.unbounded-cloud.io", "yes"),
        (
            "get machines.unbounded-cloud.io --subresource=status",
            "yes",
        ),
        ("create machineoperations.unbounded-cloud.io", "no"),
        ("get secrets", "no"),
        ("* *", "no"),
        ("get /healthz", "yes"),
        ("get /metrics", "no"),
    ] {
        let output = kubectl.run(&format!("auth can-i {question}")).await;
        assert_eq!(
            texts(&output).0.trim(),
            answer,
            "{question}: {:?}",
            texts(&output)
        );
        assert_eq!(output.status.success(), answer == "yes");
    }
    let list = kubectl.ok("auth can-i --list").await;
    assert!(
        list.contains("machineoperations.unbounded-cloud.io"),
        "{list}"
    );
    let err = kubectl.fails("get machines --as=root").await;
    assert!(
        err.contains("User \"vera\" cannot impersonate resource \"users\""),
        "{err}"
    );
    kubectl.running.stop().await;
}

#[tokio::test]
async fn server_side_apply_and_core_kinds() {
    let Some(kubectl) = Kubectl::start().await else {
        return;
    };
    let machine = kubectl.file("machine.yaml", MACHINE);
    let out = kubectl
        .ok(&format!("apply --server-side -f {machine}"))
        .await;
    assert_eq!(
        table(&out),
        ["machine.unbounded-cloud.io/worker-01 serverside-applied"]
    );
    kubectl
        .ok(r#"patch mach worker-01 --type=merge -p {"spec":{"pxe":{"image":"x"}}}"#)
        .await;
    let err = kubectl
        .fails(&format!("apply --server-side -f {machine}"))
        .await;
    assert!(
        err.contains("Apply failed with 1 conflict: conflict with \"kubectl-patch\""),
        "{err}"
    );
    assert!(err.contains(".spec.pxe.image"), "{err}");
    kubectl
        .ok(&format!(
            "apply --server-side --force-conflicts -f {machine}"
        ))
        .await;

    kubectl.ok("create namespace other").await;
    kubectl
        .ok("-n other create secret generic s --from-literal=password=p")
        .await;
    kubectl
        .ok("-n other create configmap c --from-literal=a=b")
        .await;
    let out = table(&kubectl.ok("-n other get secret,configmap").await);
    assert!(
        out.iter().any(|l| l.starts_with("secret/s Opaque 1")),
        "{out:?}"
    );
    let label = "label secret s -n other a=b";
    kubectl.ok(label).await;
    kubectl.ok("-n other delete secret,configmap --all").await;
    kubectl.ok("delete namespace other").await;
    let machine = kubectl.file("replace.yaml", &MACHINE.replace("site: lab", "site: other"));
    kubectl.ok(&format!("replace -f {machine}")).await;
    kubectl.ok("delete mach --all").await;
    kubectl.running.stop().await;
}
