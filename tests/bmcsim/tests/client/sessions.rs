//! Sessions: one, shared, deleted; a refused password is sent once; basic where there are none.

use bmcsim::{Fault, Power, Profile};
use redfish::{
    BootOverride, BootSourceOverrideTarget as Target, Client, Error, PowerState, ResetType,
};
use secrecy::SecretString;

use super::rig::{LOGIN, Rig};

#[tokio::test]
async fn one_session_is_used_for_everything_and_deleted_on_close() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    let system = client.system().await.unwrap();
    assert_eq!(system.power_state, PowerState::Off);
    assert_eq!(system.serial_number.as_deref(), Some("bmc-1"));
    client.system().await.unwrap();
    client
        .set_boot_override(&BootOverride::once(Target::Pxe))
        .await
        .unwrap();
    assert_eq!(rig.count(LOGIN), 1);
    assert_eq!(rig.bmc.sessions().len(), 1);
    client.close().await.unwrap();
    assert_eq!(rig.bmc.sessions().len(), 0);
    client.close().await.unwrap();
    assert_eq!(rig.count("DELETE /SessionService/Sessions/1"), 1);
    rig.running.stop().await;
}

#[tokio::test]
async fn concurrent_calls_share_one_login() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    let (a, b, c) = tokio::join!(client.system(), client.system(), client.system());
    a.and(b).and(c).unwrap();
    assert_eq!(rig.count(LOGIN), 1);
}

#[tokio::test]
async fn lost_session_costs_one_new_login() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    client.system().await.unwrap();
    rig.bmc.clear_sessions();
    let (a, b) = tokio::join!(client.system(), client.system());
    a.and(b).unwrap();
    assert_eq!(rig.count(LOGIN), 2);
}

#[tokio::test]
async fn refused_password_is_sent_once() {
    let rig = Rig::named("generic").await;
    let mut config = rig.config();
    config.password = SecretString::from("wrong");
    let client = Client::new(config).unwrap();
    for _ in 0..3 {
        let error = client.system().await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }) && !error.is_transient());
    }
    assert_eq!(rig.count(LOGIN), 1);
}

#[tokio::test]
async fn service_without_sessions_is_asked_with_basic() {
    let rig = Rig::named("basic-only").await;
    let client = rig.client();
    client.system().await.unwrap();
    client.reset(ResetType::On).await.unwrap();
    rig.wait(Power::On).await;
    client.close().await.unwrap();
    assert_eq!(rig.count(LOGIN), 0);

    let mut config = rig.config();
    config.password = SecretString::from("wrong");
    let client = Client::new(config).unwrap();
    rig.bmc.clear_log();
    for _ in 0..3 {
        assert!(matches!(
            client.system().await,
            Err(Error::Unauthorized { .. })
        ));
    }
    let refused = rig
        .bmc
        .log()
        .calls
        .iter()
        .filter(|call| call.status == Some(401))
        .count();
    assert_eq!(
        refused,
        1,
        "the refused password went out once: {:?}",
        rig.calls()
    );
}

#[tokio::test]
async fn announced_sessions_that_do_not_exist_lead_to_basic() {
    for status in [404, 405, 501] {
        let rig = Rig::named("generic").await;
        rig.bmc.add_fault(Fault {
            method: Some("POST".into()),
            status: Some(status),
            ..Fault::default()
        });
        let client = rig.client();
        client.system().await.unwrap();
        client.system().await.unwrap();
        assert_eq!(rig.count(LOGIN), 1, "{status}");
    }
}

#[tokio::test]
async fn full_session_table_is_transient_and_not_a_wrong_password() {
    let profile = Profile {
        session_limit: Some(0),
        ..Profile::default()
    };
    let rig = Rig::new(profile).await;
    let error = rig.client().system().await.unwrap_err();
    assert!(
        matches!(error, Error::SessionLimit { .. }) && error.is_transient(),
        "{error}"
    );
}
