//! What the server says of itself and of rights; core kinds.

use super::{Kubectl, MACHINE, table, texts};

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
