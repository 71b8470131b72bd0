//! Writes that are answered with a task.

use std::time::Duration;

use bmcsim::{Fault, Profile};
use redfish::{BootOverride, BootSourceOverrideTarget as Target, Client, Error, ResetType};

use super::rig::Rig;

#[tokio::test]
async fn tasks_are_followed_to_their_end() {
    let rig = Rig::new(Profile {
        task_polls: 2,
        ..Profile::default()
    })
    .await;
    let client = rig.client();
    client
        .set_boot_override(&BootOverride::once(Target::Pxe))
        .await
        .unwrap();
    client.reset(ResetType::On).await.unwrap();
    assert_eq!(rig.count("GET /TaskService/TaskMonitors/1"), 3);
    assert_eq!(rig.count("GET /TaskService/TaskMonitors/2"), 3);

    let monitor = "/redfish/v1/TaskService/TaskMonitors/3";
    rig.bmc.add_fault(Fault {
        path: Some(monitor.into()),
        status: Some(200),
        body: Some(serde_json::json!({
            "TaskState": "Exception", "Messages": [{"Message": "fan tray open"}],
        })),
        ..Fault::default()
    });
    let error = client.reset(ResetType::ForceOff).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "task of the reset action ended as Exception: fan tray open"
    );
    assert!(error.may_have_acted());
}

#[tokio::test]
async fn task_that_never_ends_ends_for_us() {
    let rig = Rig::new(Profile {
        task_polls: u32::MAX,
        ..Profile::default()
    })
    .await;
    let mut config = rig.config();
    config.timeouts.task = Duration::from_millis(100);
    let error = Client::new(config)
        .unwrap()
        .reset(ResetType::On)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TaskTimedOut { .. }), "{error}");
}
