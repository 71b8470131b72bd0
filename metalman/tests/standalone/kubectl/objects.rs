//! Objects: apply, get, label, patch, wait, watch, and what is said about bad input.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Kubectl, MACHINE, OPERATION, table, texts};

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
