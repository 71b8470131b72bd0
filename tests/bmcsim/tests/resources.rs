//! What a BMC shows and lets be changed, looked at without the Redfish client.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod https;

use std::collections::BTreeSet;

use bmcsim::{Lockout, Profile};
use https::{Rig, read};
use serde_json::{Value, json};

fn links(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(properties) => {
            if let Some(Value::String(path)) = properties.get("@odata.id")
                && !path.contains('#')
            {
                found.insert(path.clone());
            }
            properties.values().for_each(|value| links(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| links(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn every_link_of_every_profile_leads_to_what_it_says() {
    for name in Profile::NAMES {
        let rig = Rig::new(Profile::named(name).unwrap()).await;
        let mut left = BTreeSet::from(["/redfish/v1/".to_owned()]);
        let mut seen = BTreeSet::new();
        while let Some(path) = left.pop_first() {
            let answer = rig.get(&path).await;
            assert_eq!(answer.status, 200, "{name}: {path}");
            assert_eq!(answer.body["@odata.id"], json!(path), "{name}");
            for property in ["@odata.type", "Name"] {
                assert!(
                    answer.body[property].is_string(),
                    "{name}: {path} has no {property}"
                );
            }
            assert!(
                !answer.body.to_string().contains(['<', '>']),
                "{name}: {path} {}",
                answer.body
            );
            seen.insert(path);
            let mut found = BTreeSet::new();
            links(&answer.body, &mut found);
            let fresh = found
                .into_iter()
                .filter(|path| path != "/redfish/v1" && !seen.contains(path));
            left.extend(fresh);
        }
        assert!(seen.len() > 60, "{name}: only {} resources", seen.len());
        rig.running.stop().await;
    }
}

#[tokio::test]
async fn sensors_and_inventory_tell_of_the_machine() {
    let rig = Rig::new(Profile::default()).await;
    let off = rig.get("Chassis/1/Sensors/TotalPower").await.body["Reading"].clone();
    rig.send(
        "POST",
        "Systems/1/Actions/ComputerSystem.Reset",
        json!({"ResetType": "On"}),
    )
    .await;
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(2));
    while rig.bmc.power() != bmcsim::Power::On {
        tick.tick().await;
    }
    let on = rig.get("Chassis/1/Sensors/TotalPower").await.body["Reading"].clone();
    assert!(on.as_u64() > off.as_u64());
    let old = rig.get("Chassis/1/Power").await.body;
    assert_eq!(old["PowerControl"][0]["PowerConsumedWatts"], on);
    let nics = rig.get("Systems/1/EthernetInterfaces?$expand=.").await.body;
    let macs: BTreeSet<&str> = nics["Members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|nic| nic["MACAddress"].as_str().unwrap())
        .collect();
    assert_eq!(macs.len(), 2);
    let drive = rig.get("Systems/1/Storage/1/Drives/Drive2").await.body;
    assert_eq!(drive["SerialNumber"], "bmc-1-D2");
    assert_eq!(drive["CapacityBytes"], 960_197_124_096_u64);
    let certificate = rig
        .get("Managers/BMC/NetworkProtocol/HTTPS/Certificates/1")
        .await
        .body;
    assert!(
        certificate["CertificateString"]
            .as_str()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    assert!(!certificate.to_string().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn long_logs_come_in_pages_and_are_cleared() {
    let rig = Rig::new(Profile {
        sel_entries: 120,
        ..Profile::named("dell").unwrap()
    })
    .await;
    let log = "Managers/iDRAC.Embedded.1/LogServices/Sel";
    let mut path = format!("{log}/Entries");
    let mut ids = Vec::new();
    for page in 1.. {
        let body = rig.get(&path).await.body;
        assert_eq!(body["Members@odata.count"], 120);
        let members = body["Members"].as_array().unwrap();
        ids.extend(
            members
                .iter()
                .map(|entry| entry["Id"].as_str().unwrap().parse::<u32>().unwrap()),
        );
        let Some(next) = body["Members@odata.nextLink"].as_str() else {
            assert_eq!(page, 3);
            break;
        };
        path = next.to_owned();
    }
    assert!(
        ids.iter().copied().eq((1..=120).rev()),
        "newest first: {ids:?}"
    );
    let cleared = rig
        .send(
            "POST",
            &format!("{log}/Actions/LogService.ClearLog"),
            json!({}),
        )
        .await;
    assert_eq!(cleared.status, 204);
    assert_eq!(
        rig.get(&format!("{log}/Entries")).await.body["Members@odata.count"],
        1
    );
}

#[tokio::test]
async fn media_are_inserted_and_ejected_each_in_its_vendors_way() {
    let rig = Rig::new(Profile::default()).await;
    let path = "Managers/BMC/VirtualMedia/Cd";
    let act = |action: &str| format!("{path}/Actions/VirtualMedia.{action}");
    let image =
        json!({"Image": "http://192.0.2.1/a.iso", "Inserted": true, "WriteProtected": true});
    assert_eq!(
        rig.send("POST", &act("EjectMedia"), json!({})).await.status,
        409
    );
    assert_eq!(
        rig.send("POST", &act("InsertMedia"), image.clone())
            .await
            .status,
        204
    );
    let body = rig.get(path).await.body;
    assert_eq!(
        (&body["Inserted"], &body["ImageName"]),
        (&json!(true), &json!("a.iso"))
    );
    assert_eq!(
        rig.send("POST", &act("InsertMedia"), image.clone())
            .await
            .status,
        409
    );
    assert_eq!(
        rig.send("POST", &act("EjectMedia"), json!({})).await.status,
        204
    );
    assert_eq!(rig.get(path).await.body["Image"], Value::Null);

    let rig = Rig::new(Profile::named("supermicro").unwrap()).await;
    let path = "Managers/1/VirtualMedia/VirtualMedia1";
    let act = |action: &str| format!("{path}/Actions/VirtualMedia.{action}");
    assert_eq!(
        rig.send("POST", &act("InsertMedia"), image).await.status,
        400
    );
    let image = json!({"Image": "http://192.0.2.1/a.iso"});
    assert_eq!(
        rig.send("POST", &act("InsertMedia"), image).await.status,
        204
    );
    assert_eq!(
        rig.send("POST", &act("EjectMedia"), json!({})).await.status,
        204
    );
    let body = rig.get(path).await.body;
    assert_eq!(
        (&body["Inserted"], &body["ImageName"]),
        (&json!(false), &json!("a.iso"))
    );
}

#[tokio::test]
async fn properties_are_changed_or_refused_by_name() {
    let rig = Rig::new(Profile::default()).await;
    let led = |word: &str| json!({"IndicatorLED": word});
    assert_eq!(rig.send("PATCH", "Systems/1", led("Lit")).await.status, 204);
    assert_eq!(rig.get("Systems/1").await.body["IndicatorLED"], "Lit");
    let key = async |path: &str, body: Value| {
        let refused = rig.send("PATCH", path, body).await;
        assert_eq!(refused.status, 400);
        let id = refused.body["error"]["@Message.ExtendedInfo"][0]["MessageId"].as_str();
        id.unwrap().rsplit('.').next().unwrap().to_owned()
    };
    assert_eq!(
        key("Systems/1", led("Purple")).await,
        "PropertyValueNotInList"
    );
    assert_eq!(
        key("Systems/1", json!({"Model": "x"})).await,
        "PropertyNotWritable"
    );
    assert_eq!(
        key("Systems/1", json!({"Bogus": 1})).await,
        "PropertyUnknown"
    );
    assert_eq!(
        key("Systems/1", json!({"@odata.id": "/x"})).await,
        "NoOperation"
    );
    let order = json!({"Boot": {"BootOrder": ["Boot0002", "Boot0000"]}});
    assert_eq!(rig.send("PATCH", "Systems/1", order).await.status, 204);
    let shown = rig.get("Systems/1").await.body["Boot"]["BootOrder"].clone();
    assert_eq!(
        shown,
        json!(["Boot0002", "Boot0000", "Boot0001", "Boot0003"])
    );
    let order = json!({"Boot": {"BootOrder": ["Boot0002", "Boot0009"]}});
    assert_eq!(key("Systems/1", order).await, "PropertyValueNotInList");
    let refused = rig.send("PATCH", "Managers", json!({})).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("allow")),
        (405, "GET, HEAD")
    );
    assert_eq!(rig.get("?$filter=x").await.status, 501);
}

#[tokio::test]
async fn pending_settings_count_from_the_next_reset_by_force() {
    let rig = Rig::new(Profile {
        settings_apply_on_reset: true,
        etag: bmcsim::EtagMode::Strong,
        ..Profile::named("ami").unwrap()
    })
    .await;
    let pxe =
        json!({"Boot": {"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once"}});
    assert_eq!(
        rig.send("PATCH", "Systems/DGX", pxe.clone()).await.status,
        400
    );
    assert_eq!(rig.send("PATCH", "Systems/DGX/SD", pxe).await.status, 204);
    let bios = json!({"Attributes": {"HttpDev1EnDis": "Disabled"}});
    assert_eq!(
        rig.send("PATCH", "Systems/DGX/Bios/SD", bios).await.status,
        204
    );
    let target =
        async |path: &str| rig.get(path).await.body["Boot"]["BootSourceOverrideTarget"].clone();
    assert_eq!(
        (target("Systems/DGX").await, target("Systems/DGX/SD").await),
        (json!("None"), json!("Pxe"))
    );
    let attribute =
        async || rig.get("Systems/DGX/Bios").await.body["Attributes"]["HttpDev1EnDis"].clone();
    assert_eq!(attribute().await, "Enabled");
    let on = json!({"ResetType": "On"});
    rig.send("POST", "Systems/DGX/Actions/ComputerSystem.Reset", on)
        .await;
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(2));
    while rig.bmc.power() != bmcsim::Power::On {
        tick.tick().await;
    }
    assert_eq!(rig.bmc.log().power[0].boot, Some(bmcsim::BootChoice::Pxe));
    assert_eq!(attribute().await, "Disabled");
    let pending = rig.get("Systems/DGX/Bios/SD").await.body["Attributes"].clone();
    assert_eq!(pending, json!({}));
}

#[tokio::test]
async fn accounts_come_change_and_go() {
    let rig = Rig::new(Profile::default()).await;
    let new = json!({"UserName": "op", "Password": "first", "RoleId": "Operator"});
    let made = rig.send("POST", "AccountService/Accounts", new).await;
    assert_eq!(
        (made.status.as_u16(), made.header("location")),
        (201, "/redfish/v1/AccountService/Accounts/2")
    );
    let operator = |method: &str, path: &str, password: &str| {
        rig.raw(method, path)
            .basic_auth("op", Some(password.to_owned()))
    };
    let on = json!({"ResetType": "On"});
    let reset = operator("POST", "Systems/1/Actions/ComputerSystem.Reset", "first").json(&on);
    assert_eq!(read(reset).await.unwrap().status, 204);
    let own = "AccountService/Accounts/2";
    let other =
        operator("PATCH", "AccountService/Accounts/1", "first").json(&json!({"Password": "taken"}));
    assert_eq!(read(other).await.unwrap().status, 403);
    let changed = operator("PATCH", own, "first").json(&json!({"Password": "second"}));
    assert_eq!(read(changed).await.unwrap().status, 200);
    assert_eq!(
        read(operator("GET", own, "first")).await.unwrap().status,
        401
    );
    assert_eq!(
        read(operator("GET", own, "second")).await.unwrap().status,
        200
    );
    let must = rig
        .send("PATCH", own, json!({"PasswordChangeRequired": true}))
        .await;
    assert_eq!(must.status, 200);
    let barred = read(operator("GET", "Systems", "second")).await.unwrap();
    assert_eq!(barred.status, 403);
    assert!(barred.body.to_string().contains("PasswordChangeRequired"));
    assert_eq!(rig.send("DELETE", own, json!({})).await.status, 204);
    assert_eq!(rig.get(own).await.status, 404);
}

#[tokio::test]
async fn wrong_passwords_lock_the_account_and_are_counted() {
    let lockout = Some(Lockout {
        strikes: 3,
        seconds: 600,
    });
    let rig = Rig::new(Profile {
        lockout,
        ..Profile::default()
    })
    .await;
    let login = async |password: &str| {
        let body = json!({"UserName": "admin", "Password": password});
        let sent = rig.raw("POST", "SessionService/Sessions").json(&body);
        read(sent).await.unwrap().status.as_u16()
    };
    assert_eq!(login("right").await, 201);
    for _ in 0..3 {
        assert_eq!(login("wrong").await, 401);
    }
    assert_eq!(login("right").await, 401, "locked");
    let counters = rig.bmc.counters();
    assert_eq!((counters.logins_refused, counters.lockouts), (4, 1));
    assert_eq!(
        (counters.sessions_opened, rig.bmc.locked_accounts()),
        (1, 1)
    );
    rig.bmc.set_password("other");
    assert_eq!(login("other").await, 201, "somebody reset the account");
}

#[tokio::test]
async fn idle_sessions_end_and_make_room() {
    let rig = Rig::new(Profile {
        session_limit: Some(1),
        session_timeout_s: 0,
        ..Profile::default()
    })
    .await;
    let body = json!({"UserName": "admin", "Password": "right"});
    for _ in 0..2 {
        let made = read(rig.raw("POST", "SessionService/Sessions").json(&body))
            .await
            .unwrap();
        assert_eq!(made.status, 201);
        let token = made.header("x-auth-token").to_owned();
        let used = read(rig.raw("GET", "Systems").header("X-Auth-Token", token))
            .await
            .unwrap();
        assert_eq!(used.status, 401, "a time-out of 0 is over at once");
    }
    assert_eq!(rig.bmc.counters().sessions_lost, 2);
}
