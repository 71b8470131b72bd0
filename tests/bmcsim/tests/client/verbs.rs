//! What is done to machines, on every profile: power, boot override, media, lamp, password.

use bmcsim::{EtagMode, Fault, Power, Profile};
use redfish::{
    BootOverride, BootSourceOverrideEnabled, BootSourceOverrideTarget as Target, Client, Error,
    ResetType, VirtualMedia,
};
use secrecy::SecretString;

use super::rig::Rig;

#[tokio::test]
async fn every_profile_is_driven_through_a_netboot() {
    for name in Profile::NAMES {
        let rig = Rig::named(name).await;
        let mut config = rig.config();
        // What an untouched Machine asks for.
        config.system_id = Some("1".to_owned());
        let client = Client::new(config).unwrap();
        let wanted = BootOverride::once(Target::Pxe);
        let applied = client.set_boot_override(&wanted).await;
        assert_eq!(
            applied.unwrap_or_else(|error| panic!("{name}: {error}")),
            wanted
        );
        client.reset(ResetType::On).await.unwrap();
        rig.wait(Power::On).await;
        assert_eq!(
            rig.bmc.log().power[0].boot,
            Some(bmcsim::BootChoice::Pxe),
            "{name}"
        );
        assert_eq!(
            rig.bmc.boot().enabled,
            bmcsim::Enabled::Disabled,
            "{name}: Once is used up"
        );

        let wanted = BootOverride {
            enabled: BootSourceOverrideEnabled::Continuous,
            ..wanted
        };
        let applied = client.set_boot_override(&wanted).await.unwrap();
        let once_only = *name == "lenovo";
        assert_eq!(
            applied.enabled == BootSourceOverrideEnabled::Once,
            once_only,
            "{name}"
        );
        client.clear_boot_override().await.unwrap();
        client.clear_boot_override().await.unwrap();
        let system = client.system().await.unwrap();
        assert!(system.boot.unwrap().current.is_cleared(), "{name}");
        client.close().await.unwrap();
        assert_eq!(rig.bmc.sessions().len(), 0, "{name}");
    }
}

#[tokio::test]
async fn every_etag_habit_is_met() {
    for etag in [
        EtagMode::None,
        EtagMode::Strong,
        EtagMode::Weak,
        EtagMode::Required,
        EtagMode::Refused,
    ] {
        let rig = Rig::new(Profile {
            etag,
            ..Profile::default()
        })
        .await;
        let client = rig.client();
        client
            .set_boot_override(&BootOverride::once(Target::Pxe))
            .await
            .unwrap_or_else(|error| panic!("{etag:?}: {error}"));
        let patches = rig.count("PATCH /Systems/1");
        assert_eq!(
            patches,
            if etag == EtagMode::Refused { 2 } else { 1 },
            "{etag:?}"
        );
    }
}

#[tokio::test]
async fn resets_are_chosen_from_what_is_offered() {
    let rig = Rig::named("ami").await;
    let client = rig.client();
    client.reset(ResetType::On).await.unwrap();
    rig.wait(Power::On).await;
    let report = client.reset(ResetType::PowerCycle).await.unwrap();
    assert_eq!(report.sent, [ResetType::ForceOff, ResetType::On]);
    rig.wait(Power::On).await;
    let causes: Vec<String> = rig.boots().into_iter().map(|(_, cause)| cause).collect();
    assert_eq!(causes, ["On", "ForceOff", "On"]);
    // Twice the same is once: nothing is sent to a machine that is as wanted.
    assert!(client.reset(ResetType::On).await.unwrap().sent.is_empty());
    client.reset(ResetType::GracefulShutdown).await.unwrap();
    rig.wait(Power::Off).await;
    let error = client.reset(ResetType::Nmi).await.unwrap_err();
    assert!(matches!(error, Error::ResetUnsupported { .. }));
}

#[tokio::test]
async fn accepted_and_ignored_override_is_an_error() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    rig.bmc.add_fault(Fault {
        method: Some("PATCH".into()),
        times: Some(1),
        status: Some(204),
        ..Fault::default()
    });
    let error = client
        .set_boot_override(&BootOverride::once(Target::Pxe))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "NotApplied");
    assert_eq!(
        error.to_string(),
        "BMC accepted boot override Pxe/Once/UEFI and then reported None/Disabled/UEFI"
    );
    client
        .set_boot_override(&BootOverride::once(Target::Pxe))
        .await
        .unwrap();
}

#[tokio::test]
async fn stubborn_override_is_cleared_the_second_way() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    client
        .set_boot_override(&BootOverride::continuous(Target::Pxe))
        .await
        .unwrap();
    rig.bmc.add_fault(Fault {
        method: Some("PATCH".into()),
        times: Some(1),
        status: Some(400),
        ..Fault::default()
    });
    client.clear_boot_override().await.unwrap();
    assert_eq!(rig.bmc.boot().enabled, bmcsim::Enabled::Disabled);
}

#[tokio::test]
async fn named_system_has_to_exist() {
    let rig = Rig::named("generic").await;
    let mut config = rig.config();
    config.system_id = Some("blade-7".into());
    let error = Client::new(config).unwrap().system().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "BMC has no system \"blade-7\" (found: 1)"
    );
}

#[tokio::test]
async fn everything_is_read_of_every_profile() {
    for name in Profile::NAMES {
        let rig = Rig::named(name).await;
        let client = rig.client();
        let failed = |what: &str, error: Error| -> ! { panic!("{name}: {what}: {error}") };
        let found = client.inventory().await;
        let found = found.unwrap_or_else(|error| failed("inventory", error));
        assert!(found.gaps.is_empty(), "{name}: {:?}", found.gaps);
        assert!(!found.firmware.is_empty(), "{name}");
        let sensors = client.sensors().await;
        let sensors = sensors.unwrap_or_else(|error| failed("sensors", error));
        assert!(sensors.gaps.is_empty(), "{name}: {:?}", sensors.gaps);
        assert!(!sensors.temperatures.is_empty(), "{name}");
        let log = client.event_log(3).await;
        let log = log.unwrap_or_else(|error| failed("event log", error));
        assert!(log.entries.len() <= 3, "{name}");
        let order = client.boot_order().await;
        order.unwrap_or_else(|error| failed("boot order", error));
        let consoles = client.consoles().await;
        consoles.unwrap_or_else(|error| failed("consoles", error));
        let accounts = client.accounts().await;
        let accounts = accounts.unwrap_or_else(|error| failed("accounts", error));
        assert!(!accounts.is_empty(), "{name}");
        let sessions = client.session_count().await;
        let sessions = sessions.unwrap_or_else(|error| failed("sessions", error));
        assert!(
            sessions.is_none_or(|count| count == 1),
            "{name}: {sessions:?}"
        );
        assert!(client.observed_certificate().unwrap().not_after.is_some());
        client.close().await.unwrap();
        assert_eq!(rig.bmc.sessions().len(), 0, "{name}");
    }
}

#[tokio::test]
async fn media_indicator_and_password_are_changed_on_every_profile() {
    for name in Profile::NAMES {
        let rig = Rig::named(name).await;
        let client = rig.client();
        let failed = |what: &str, error: Error| -> ! { panic!("{name}: {what}: {error}") };
        let drives = client.virtual_media().await;
        let drives = drives.unwrap_or_else(|error| failed("virtual media", error));
        let media = client.insert_media("http://10.0.0.1/boot.iso").await;
        match media {
            Ok(media) => assert!(media.inserted, "{name}"),
            Err(Error::NotFound { .. }) if !drives.iter().any(VirtualMedia::takes_cd) => {}
            Err(error) => failed("insert", error),
        }
        let ejected = client.eject_media().await;
        ejected.unwrap_or_else(|error| failed("eject", error));
        for on in [true, false] {
            let set = client
                .set_indicator(if on {
                    redfish::IndicatorState::Blinking
                } else {
                    redfish::IndicatorState::Off
                })
                .await;
            set.unwrap_or_else(|error| failed("indicator", error));
            assert_eq!(client.indicator().await.unwrap(), Some(on), "{name}");
        }
        let new = SecretString::from("Correct-Horse-9");
        let changed = client.change_own_password(&new).await;
        changed.unwrap_or_else(|error| failed("password", error));
        client.system().await.unwrap();
        client.close().await.unwrap();
        assert_eq!(rig.bmc.sessions().len(), 0, "{name}");
        let old = rig.client().system().await.unwrap_err();
        assert!(matches!(old, Error::Unauthorized { .. }), "{name}: {old}");
    }
}
