//! Every kind of trouble the simulator makes, seen from outside.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod https;

use std::time::{Duration, Instant};

use bmcsim::{Cut, Door, Fault, Habits, Power, PowerKind, Profile, TaskPlan};
use https::{Rig, client, read};
use serde_json::json;

const RESET: &str = "Systems/1/Actions/ComputerSystem.Reset";

async fn rig_with(fault: Fault) -> Rig {
    let rig = Rig::new(Profile::default()).await;
    rig.bmc.add_fault(Fault {
        times: Some(1),
        ..fault
    });
    rig
}

#[tokio::test]
async fn doors_refuse_drop_swallow_and_open_again() {
    let rig = Rig::new(Profile::default()).await;
    assert_eq!(rig.get("Systems").await.status, 200);
    for door in [Door::Refused, Door::Reset] {
        rig.bmc.set_door(door);
        // The door is moved by another task: the state to wait for is the first call that fails.
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while read(rig.ask("GET", "Systems")).await.is_ok() {
            tick.tick().await;
        }
        let begun = Instant::now();
        let error = read(rig.ask("GET", "Systems")).await.unwrap_err();
        assert!(
            !error.is_timeout() && begun.elapsed() < Duration::from_secs(1),
            "{door:?}: {error:?}"
        );
    }
    for door in [Door::Dropped, Door::HalfOpen] {
        rig.bmc.set_door(door);
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let silent = async {
            loop {
                match read(rig.ask("GET", "Systems")).await {
                    Err(error) if error.is_timeout() => break error,
                    Ok(_) | Err(_) => tick.tick().await,
                };
            }
        };
        let error = tokio::time::timeout(Duration::from_secs(15), silent)
            .await
            .unwrap();
        assert!(
            error.is_connect() || error.is_request(),
            "{door:?}: {error:?}"
        );
    }
    rig.bmc.set_door(Door::Open);
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while read(rig.ask("GET", "Systems")).await.is_err() {
        tick.tick().await;
    }
    rig.running.stop().await;
}

#[tokio::test]
async fn answers_break_off_trickle_swell_and_are_no_json() {
    let rig = rig_with(Fault {
        cut: Some(Cut::Middle),
        ..Fault::default()
    })
    .await;
    let error = read(rig.ask("GET", "Systems/1")).await.unwrap_err();
    assert!(
        error.is_body() || error.is_decode() || error.is_request(),
        "{error:?}"
    );
    assert_eq!(rig.get("Systems/1").await.status, 200, "only once");

    let rig = rig_with(Fault {
        bytes_per_s: Some(1),
        ..Fault::default()
    })
    .await;
    assert!(
        read(rig.ask("GET", "Systems/1"))
            .await
            .unwrap_err()
            .is_timeout()
    );
    let rig = rig_with(Fault {
        bytes_per_s: Some(1_000_000),
        ..Fault::default()
    })
    .await;
    assert_eq!(rig.get("Systems/1").await.body["Id"], "1");

    let rig = rig_with(Fault {
        pad_bytes: 10 << 20,
        ..Fault::default()
    })
    .await;
    let long = rig
        .ask("GET", "Systems/1")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert!(long.len() > 10 << 20);

    let rig = rig_with(Fault {
        raw: Some("<html>login</html>".into()),
        ..Fault::default()
    })
    .await;
    let page = rig
        .ask("GET", "Systems/1")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(page, "<html>login</html>");

    let rig = rig_with(Fault {
        silent: true,
        ..Fault::default()
    })
    .await;
    assert!(
        read(rig.ask("GET", "Systems/1"))
            .await
            .unwrap_err()
            .is_timeout()
    );

    let elsewhere = [("Location".to_owned(), "https://192.0.2.1/".to_owned())];
    let rig = rig_with(Fault {
        status: Some(307),
        headers: elsewhere.into(),
        ..Fault::default()
    })
    .await;
    let moved = rig.get("Systems/1").await;
    assert_eq!(
        (moved.status.as_u16(), moved.header("location")),
        (307, "https://192.0.2.1/")
    );
}

#[tokio::test]
async fn lies_are_told_and_nothing_is_done() {
    let rig = rig_with(Fault {
        method: Some("POST".into()),
        ignore: true,
        ..Fault::default()
    })
    .await;
    let on = json!({"ResetType": "On"});
    assert_eq!(rig.send("POST", RESET, on.clone()).await.status, 204);
    assert_eq!(
        (rig.bmc.power(), rig.bmc.counters().resets.len()),
        (Power::Off, 0)
    );

    rig.bmc.set_habits(Habits {
        shows_power: Some("On".into()),
        ..Habits::default()
    });
    assert_eq!(rig.get("Systems/1").await.body["PowerState"], "On");
    assert_eq!(rig.bmc.power(), Power::Off);

    rig.bmc.set_habits(Habits {
        ignores_override: true,
        keeps_override: true,
        ..Habits::default()
    });
    let pxe =
        json!({"Boot": {"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once"}});
    assert_eq!(rig.send("PATCH", "Systems/1", pxe).await.status, 204);
    assert_eq!(rig.send("POST", RESET, on).await.status, 204);
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    while rig.bmc.power() != Power::On {
        tick.tick().await;
    }
    let boot = &rig.bmc.log().power[0];
    assert_eq!(
        (boot.kind, boot.boot),
        (PowerKind::On, Some(bmcsim::BootChoice::Default))
    );
    assert_eq!(
        rig.get("Systems/1").await.body["Boot"]["BootSourceOverrideTarget"],
        "Pxe"
    );
    assert_eq!(rig.bmc.counters().resets["On"], 1);
}

#[tokio::test]
async fn tasks_fail_or_never_end() {
    let plan = TaskPlan {
        polls: 1,
        fails: true,
        never_ends: false,
    };
    let rig = rig_with(Fault {
        method: Some("POST".into()),
        task: Some(plan),
        ..Fault::default()
    })
    .await;
    let accepted = rig.send("POST", RESET, json!({"ResetType": "On"})).await;
    assert_eq!(accepted.status, 202);
    let monitor = accepted.header("location").to_owned();
    assert_eq!(rig.get(&monitor).await.status, 202);
    let ended = rig.get(&monitor).await;
    assert_eq!(
        (ended.status.as_u16(), &ended.body["TaskState"]),
        (200, &json!("Exception"))
    );
    assert_eq!(rig.bmc.power(), Power::Off, "what fails is not done");

    let plan = TaskPlan {
        never_ends: true,
        ..TaskPlan::default()
    };
    let rig = rig_with(Fault {
        method: Some("POST".into()),
        task: Some(plan),
        ..Fault::default()
    })
    .await;
    let accepted = rig.send("POST", RESET, json!({"ResetType": "On"})).await;
    let monitor = accepted.header("location").to_owned();
    for _ in 0..5 {
        assert_eq!(rig.get(&monitor).await.status, 202);
    }
}

#[tokio::test]
async fn sessions_are_lost_in_mid_operation() {
    let rig = Rig::new(Profile::default()).await;
    let body = json!({"UserName": "admin", "Password": "right"});
    let made = read(rig.raw("POST", "SessionService/Sessions").json(&body))
        .await
        .unwrap();
    let token = made.header("x-auth-token").to_owned();
    let ask = || read(rig.raw("GET", "Systems").header("X-Auth-Token", &token));
    assert_eq!(ask().await.unwrap().status, 200);
    rig.bmc.add_fault(Fault {
        times: Some(1),
        forget_sessions: true,
        ..Fault::default()
    });
    assert_eq!(ask().await.unwrap().status, 401);
    assert_eq!(
        (rig.bmc.sessions().len(), rig.bmc.counters().sessions_lost),
        (0, 1)
    );
}

#[tokio::test]
async fn certificate_changes_between_two_connections() {
    let rig = Rig::new(Profile::default()).await;
    let seen = async || {
        let answer = client()
            .get(format!("{}/redfish", rig.url))
            .send()
            .await
            .unwrap();
        let tls: &reqwest::tls::TlsInfo = answer.extensions().get().unwrap();
        tls.peer_certificate().unwrap().to_vec()
    };
    let first = seen().await;
    assert_eq!(seen().await, first);
    rig.bmc.change_certificate().unwrap();
    assert_ne!(seen().await, first);
}
