//! The Redfish client against simulated BMCs over TLS: what it must survive.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::sync::Arc;
use std::time::Duration;

use bmcsim::{Bmc, BmcConfig, Config, Cut, EtagMode, Fault, Power, PowerKind, Profile, Running};
use redfish::{
    BootOverride, BootSourceOverrideEnabled, BootSourceOverrideTarget as Target, Client,
    ClientConfig, Error, Fingerprint, PowerState, ResetType, Timeouts, TlsTrust, VirtualMedia,
};
use secrecy::SecretString;

struct Rig {
    running: Running,
    bmc: Arc<Bmc>,
    url: url::Url,
}

impl Rig {
    async fn new(profile: Profile) -> Self {
        let bmc = BmcConfig {
            system_id: profile.system_id.clone(),
            profile,
            ..BmcConfig::memory("bmc-1", "right")
        };
        let running = bmcsim::start(Config {
            admin: None,
            bmcs: vec![bmc],
        })
        .await
        .unwrap();
        let (address, bmc) = running.bmcs()[0].clone();
        Self {
            running,
            bmc,
            url: format!("https://{address}").parse().unwrap(),
        }
    }

    async fn named(profile: &str) -> Self {
        Self::new(Profile::named(profile).unwrap()).await
    }

    fn config(&self) -> ClientConfig {
        ClientConfig {
            base: self.url.clone(),
            username: "admin".into(),
            password: SecretString::from("right"),
            system_id: None,
            trust: TlsTrust::FirstUse,
            timeouts: Timeouts {
                request: Duration::from_secs(10),
                read_back: Duration::from_millis(200),
                task: Duration::from_secs(5),
                power: Duration::from_secs(5),
                poll: Duration::from_millis(10),
                ..Timeouts::default()
            },
        }
    }

    fn client(&self) -> Client {
        Client::new(self.config()).unwrap()
    }

    /// `method path` of every call, shortened.
    fn calls(&self) -> Vec<String> {
        let log = self.bmc.log();
        log.calls
            .iter()
            .map(|call| {
                format!(
                    "{} {}",
                    call.method,
                    call.path.trim_start_matches("/redfish/v1")
                )
            })
            .collect()
    }

    fn count(&self, call: &str) -> usize {
        self.calls().iter().filter(|made| *made == call).count()
    }

    fn boots(&self) -> Vec<(PowerKind, String)> {
        self.bmc
            .log()
            .power
            .iter()
            .map(|event| (event.kind, event.cause.clone()))
            .collect()
    }

    async fn wait(&self, power: Power) {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        let reached = async {
            while self.bmc.power() != power {
                tick.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .expect("power in time");
    }
}

const LOGIN: &str = "POST /SessionService/Sessions";

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

#[tokio::test]
async fn certificate_is_pinned_on_first_use_and_another_one_is_refused_before_login() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    assert_eq!(client.observed_fingerprint(), None);
    client.service_root().await.unwrap();
    let seen = client.observed_fingerprint().unwrap();

    let mut config = rig.config();
    config.trust = TlsTrust::Pin(seen);
    Client::new(config.clone()).unwrap().system().await.unwrap();

    rig.bmc.clear_log();
    config.trust = TlsTrust::Pin(Fingerprint::of_der(b"another"));
    let error = Client::new(config).unwrap().system().await.unwrap_err();
    let Error::CertificateMismatch { found, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(found, seen);
    assert!(rig.calls().is_empty());
}

#[tokio::test]
async fn certificate_survives_a_restart_of_the_simulator() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let bmc = BmcConfig {
            state_dir: Some(dir.path().join("bmc-1")),
            ..BmcConfig::memory("bmc-1", "right")
        };
        let running = bmcsim::start(Config {
            admin: None,
            bmcs: vec![bmc],
        })
        .await
        .unwrap();
        let base = format!("https://{}", running.bmcs()[0].0).parse().unwrap();
        let client = Client::new(ClientConfig {
            base,
            username: "admin".into(),
            password: SecretString::from("right"),
            system_id: None,
            trust: TlsTrust::FirstUse,
            timeouts: Timeouts::default(),
        });
        let client = client.unwrap();
        client.service_root().await.unwrap();
        seen.push(client.observed_fingerprint().unwrap());
        running.stop().await;
    }
    assert_eq!(seen[0], seen[1]);
}

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
