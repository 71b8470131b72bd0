//! BMCs that are busy, silent, cut off or hostile.

use std::time::Duration;

use bmcsim::{Cut, Fault, Power};
use redfish::{Client, Error, ResetType};

use super::rig::Rig;

#[tokio::test]
async fn busy_bmc_says_when_to_come_back() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    for (status, retry_after) in [(503, Some("7")), (429, None)] {
        rig.bmc.add_fault(Fault {
            path: Some("/redfish/v1/Systems".into()),
            times: Some(1),
            status: Some(status),
            retry_after: retry_after.map(Into::into),
            ..Fault::default()
        });
        let error = client.system().await.unwrap_err();
        assert!(matches!(error, Error::Busy { .. }) && error.is_transient());
        assert_eq!(
            error.retry_after(),
            retry_after.map(|_| Duration::from_secs(7))
        );
    }
    client.system().await.unwrap();
}

#[tokio::test]
async fn cut_reset_may_have_acted_and_is_not_repeated() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    client.system().await.unwrap();
    rig.bmc.add_fault(Fault {
        method: Some("POST".into()),
        times: Some(1),
        cut: Some(Cut::After),
        ..Fault::default()
    });
    let error = client.reset(ResetType::On).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert!(error.may_have_acted() && error.is_transient());
    rig.wait(Power::On).await;
    assert_eq!(rig.count("POST /Systems/1/Actions/ComputerSystem.Reset"), 1);
    assert_eq!(rig.boots().len(), 1);
}

#[tokio::test]
async fn silent_bmc_is_a_time_out() {
    let rig = Rig::named("generic").await;
    let mut config = rig.config();
    config.timeouts.request = Duration::from_millis(100);
    rig.bmc.add_fault(Fault {
        delay_ms: 60_000,
        ..Fault::default()
    });
    let error = Client::new(config).unwrap().system().await.unwrap_err();
    assert!(
        matches!(error, Error::TimedOut { .. }) && !error.may_have_acted(),
        "{error:?}"
    );
}

#[tokio::test]
async fn closed_port_is_unreachable() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    rig.running.stop().await;
    let error = client.system().await.unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. }) && error.is_transient(),
        "{error:?}"
    );
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    client.system().await.unwrap();
    rig.bmc.add_fault(Fault {
        times: Some(1),
        status: Some(308),
        ..Fault::default()
    });
    assert!(matches!(
        client.system().await,
        Err(Error::Redirected { .. })
    ));
}

#[tokio::test]
async fn endless_answer_is_cut_off() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    client.system().await.unwrap();
    rig.bmc.add_fault(Fault {
        times: Some(1),
        merge: Some(serde_json::json!({"Oem": "x".repeat(9 * 1024 * 1024)})),
        ..Fault::default()
    });
    assert!(matches!(
        client.system().await,
        Err(Error::BodyTooLarge { .. })
    ));
}
