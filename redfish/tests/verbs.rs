//! The client's verbs against small services made of JSON: one habit of real BMCs per test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod fixture;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use fixture::{Service, collection, refusal, reply};
use redfish::{
    BootOverride, BootSourceOverrideTarget as Target, Error, HttpBootWay, IndicatorState,
    PowerState, StaticAddress, promote,
};
use secrecy::SecretString;
use serde_json::{Value, json};

const SYSTEM: &str = "/redfish/v1/Systems/1";

#[tokio::test]
async fn power_is_read_with_one_request() {
    let service = Service::machine(json!({"PowerState": "On"}), vec![]).await;
    let client = service.client();
    assert_eq!(client.power_state().await.unwrap(), PowerState::On);
    let before = service.log().len();
    client.power_state().await.unwrap();
    assert_eq!(service.log().len(), before + 1);
}

#[tokio::test]
async fn systems_behind_one_address_share_one_client() {
    let other = json!({
        "@odata.id": "/redfish/v1/Systems/2", "Id": "2", "PowerState": "On",
        "Boot": {"BootSourceOverrideTarget": "None"},
    });
    let list = collection(
        "/redfish/v1/Systems",
        &["/redfish/v1/Systems/1", "/redfish/v1/Systems/2"],
    );
    let service = Service::machine(json!({}), vec![list, other]).await;
    let client = service.client();
    let error = client.system().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "BMC shows several bootable systems, name one of: 1, 2"
    );
    let (one, two) = (client.for_system("1"), client.for_system("2"));
    assert_eq!(one.power_state().await.unwrap(), PowerState::Off);
    assert_eq!(two.power_state().await.unwrap(), PowerState::On);
    assert_eq!(service.count("GET", "/redfish/v1/"), 1);
    assert_eq!(one.requests(), two.requests());
}

#[tokio::test]
async fn renamed_system_is_found_again() {
    let service = Service::machine(json!({}), vec![]).await;
    let client = service.client();
    client.system().await.unwrap();
    service.rule(|seen, resources| {
        if let Some(mut system) = resources.remove(SYSTEM) {
            system["@odata.id"] = json!("/redfish/v1/Systems/System.Embedded.1");
            system["Id"] = json!("System.Embedded.1");
            resources.insert("/redfish/v1/Systems/System.Embedded.1".into(), system);
            resources.insert(
                "/redfish/v1/Systems".into(),
                collection(
                    "/redfish/v1/Systems",
                    &["/redfish/v1/Systems/System.Embedded.1"],
                ),
            );
        }
        assert_eq!(seen.method, "GET");
        None
    });
    assert_eq!(client.system().await.unwrap().id, "System.Embedded.1");
}

#[tokio::test]
async fn member_that_hides_until_its_collection_is_read_is_read() {
    let list = collection("/redfish/v1/Managers", &["/redfish/v1/Managers/1"]);
    let service = Service::machine(json!({}), vec![list]).await;
    let mut listed = false;
    service.rule(move |seen, _| {
        listed |= seen.path == "/redfish/v1/Managers";
        (seen.path == "/redfish/v1/Managers/1" && !listed)
            .then(|| refusal(404, "Base.1.8.ResourceMissingAtURI"))
            .flatten()
    });
    let manager = service.client().manager().await.unwrap();
    assert_eq!(manager.firmware_version.as_deref(), Some("1.2"));
}

#[tokio::test]
async fn manager_and_chassis_are_found_without_links() {
    let service = Service::machine(
        json!({"Links": null}),
        vec![
            collection(
                "/redfish/v1/Managers",
                &["/redfish/v1/Managers/Other", "/redfish/v1/Managers/1"],
            ),
            json!({"@odata.id": "/redfish/v1/Managers/Other", "FirmwareVersion": "9"}),
            json!({"@odata.id": "/redfish/v1/Managers/1",
                   "Links": {"ManagerForServers": [{"@odata.id": SYSTEM}]}}),
            collection(
                "/redfish/v1/Chassis",
                &["/redfish/v1/Chassis/Board", "/redfish/v1/Chassis/1"],
            ),
            json!({"@odata.id": "/redfish/v1/Chassis/Board"}),
            json!({"@odata.id": "/redfish/v1/Chassis/1",
                   "Thermal": {"@odata.id": "/redfish/v1/Chassis/1/Thermal"},
                   "Links": {"ComputerSystems": [{"@odata.id": SYSTEM}]}}),
            json!({"@odata.id": "/redfish/v1/Chassis/1/Thermal",
                   "Temperatures": [{"Name": "Inlet", "ReadingCelsius": 21}]}),
        ],
    )
    .await;
    let client = service.client();
    assert_eq!(
        client.manager().await.unwrap().firmware_version.as_deref(),
        Some("1.2")
    );
    let sensors = client.sensors().await.unwrap();
    assert_eq!(sensors.temperatures[0].value, Some(21.0));
}

#[tokio::test]
async fn mode_that_may_not_be_set_is_left_out() {
    let service = Service::machine(json!({}), vec![]).await;
    service.rule(|seen, _| {
        let mode = seen.body.pointer("/Boot/BootSourceOverrideMode");
        (seen.method == "PATCH" && mode.is_some())
            .then(|| refusal(400, "Base.1.8.PropertyNotWritable"))
            .flatten()
    });
    let client = service.client();
    client
        .set_boot_override(&BootOverride::once(Target::Pxe))
        .await
        .unwrap();
    assert_eq!(service.writes().len(), 2);
}

#[tokio::test]
async fn boot_order_is_described_changed_and_read_back() {
    let options = "/redfish/v1/Systems/1/BootOptions";
    let service = Service::machine(
        json!({"Boot": {
            "BootOrder": ["Boot0001", "Boot0002", "Boot0003"],
            "BootOptions": {"@odata.id": options},
        }}),
        vec![
            collection(
                options,
                &[
                    "/redfish/v1/Systems/1/BootOptions/1",
                    "/redfish/v1/Systems/1/BootOptions/2",
                ],
            ),
            json!({"@odata.id": "/redfish/v1/Systems/1/BootOptions/1",
                   "BootOptionReference": "Boot0001", "DisplayName": "Linux"}),
            json!({"@odata.id": "/redfish/v1/Systems/1/BootOptions/2",
                   "BootOptionReference": "Boot0002",
                   "DisplayName": "UEFI PXE IPv4 - 94:6D:AE:91:67:6A"}),
        ],
    )
    .await;
    let client = service.client();
    let order = client.boot_order().await.unwrap();
    let network: Vec<bool> = order.iter().map(redfish::BootOption::is_network).collect();
    assert_eq!(network, [false, true, false]);
    let references: Vec<String> = order
        .iter()
        .map(|option| option.reference.clone())
        .collect();
    let wanted = promote(&references, |reference| {
        order
            .iter()
            .any(|option| option.reference == reference && option.is_network())
    });
    client.set_boot_order(&wanted).await.unwrap();
    client.set_boot_order(&wanted).await.unwrap();
    assert_eq!(service.writes(), ["PATCH /redfish/v1/Systems/1"]);
    assert_eq!(
        service.resource(SYSTEM)["Boot"]["BootOrder"],
        json!(["Boot0002", "Boot0001", "Boot0003"])
    );
    service.rule(|seen, _| {
        (seen.method == "PATCH")
            .then(|| reply(204, Value::Null))
            .flatten()
    });
    let error = client.set_boot_order(&references).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "BMC accepted boot order Boot0001,Boot0002,Boot0003 and then reported Boot0002,Boot0001,Boot0003"
    );
}

fn inventory_tree() -> Vec<Value> {
    vec![
        collection(
            "/redfish/v1/Systems/1/Processors",
            &["/redfish/v1/Systems/1/Processors/1"],
        ),
        json!({"@odata.id": "/redfish/v1/Systems/1/Processors/1", "Id": "1", "Model": "Xeon",
               "TotalCores": 18, "ProcessorType": "CPU"}),
        collection(
            "/redfish/v1/Systems/1/Memory",
            &[
                "/redfish/v1/Systems/1/Memory/1",
                "/redfish/v1/Systems/1/Memory/2",
                "/redfish/v1/Systems/1/Memory/3",
            ],
        ),
        json!({"@odata.id": "/redfish/v1/Systems/1/Memory/1", "CapacityMiB": 65536,
               "SerialNumber": "80CE"}),
        json!({"@odata.id": "/redfish/v1/Systems/1/Memory/2", "Status": {"State": "Absent"}}),
        collection(
            "/redfish/v1/Systems/1/Storage",
            &["/redfish/v1/Systems/1/Storage/A"],
        ),
        json!({"@odata.id": "/redfish/v1/Systems/1/Storage/A",
               "Drives": [{"@odata.id": "/redfish/v1/Chassis/1/Drives/0"}]}),
        json!({"@odata.id": "/redfish/v1/Chassis/1/Drives/0", "Id": "Disk.Bay.0",
               "SerialNumber": "S1", "CapacityBytes": 1000, "Protocol": "NVMe"}),
        collection(
            "/redfish/v1/Systems/1/EthernetInterfaces",
            &["/redfish/v1/Systems/1/EthernetInterfaces/1"],
        ),
        json!({"@odata.id": "/redfish/v1/Systems/1/EthernetInterfaces/1",
               "MACAddress": "E4:3D:1A:13:27:F0", "@odata.etag": "\"nic\""}),
        json!({"@odata.id": "/redfish/v1/UpdateService",
               "FirmwareInventory": {"@odata.id": "/redfish/v1/UpdateService/FirmwareInventory"}}),
        collection(
            "/redfish/v1/UpdateService/FirmwareInventory",
            &["/redfish/v1/UpdateService/FirmwareInventory/BIOS"],
        ),
        json!({"@odata.id": "/redfish/v1/UpdateService/FirmwareInventory/BIOS",
               "Name": "BIOS", "Version": "1.4"}),
    ]
}

fn inventory_links() -> Value {
    let to = |name: &str| json!({"@odata.id": format!("{SYSTEM}/{name}")});
    json!({
        "SerialNumber": "S889", "Processors": to("Processors"), "Memory": to("Memory"),
        "Storage": to("Storage"), "EthernetInterfaces": to("EthernetInterfaces"),
    })
}

#[tokio::test]
async fn inventory_is_read_part_by_part_and_names_its_gaps() {
    let service = Service::machine(inventory_links(), inventory_tree()).await;
    let client = service.client();
    let found = client.inventory().await.unwrap();
    assert_eq!(found.serial_number.as_deref(), Some("S889"));
    assert_eq!(found.bmc_version.as_deref(), Some("1.2"));
    assert_eq!(found.processors[0].cores, Some(18));
    assert_eq!(found.memory.len(), 1, "the empty slot is left out");
    assert_eq!(found.drives[0].serial_number.as_deref(), Some("S1"));
    assert!(found.interfaces[0].has_mac("e4-3d-1a-13-27-f0"));
    assert_eq!(found.firmware[0].version.as_deref(), Some("1.4"));
    assert_eq!(found.gaps, ["/redfish/v1/Systems/1/Memory/3"]);
}

#[tokio::test]
async fn expanded_collections_save_requests_and_a_lie_about_them_costs_one() {
    let features = json!({
        "@odata.id": "/redfish/v1/",
        "ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": true}},
    });
    for works in [true, false] {
        let mut tree = inventory_tree();
        tree.push(features.clone());
        let service = Service::machine(inventory_links(), tree).await;
        service.rule(move |seen, resources| {
            let path = seen.path.strip_suffix("?$expand=.($levels=1)")?;
            if !works {
                return refusal(501, "Base.1.8.QueryNotSupported");
            }
            let mut page = resources.get(path)?.clone();
            for member in page["Members"].as_array_mut().unwrap() {
                if let Some(whole) = resources.get(member["@odata.id"].as_str().unwrap()) {
                    *member = whole.clone();
                }
            }
            reply(200, page)
        });
        let client = service.client();
        assert_eq!(client.inventory().await.unwrap().firmware.len(), 1);
        let expanded = service
            .log()
            .iter()
            .filter(|seen| seen.path.contains("$expand"))
            .count();
        assert_eq!(expanded, if works { 5 } else { 1 });
        let single = service.count("GET", "/redfish/v1/Systems/1/Memory/1");
        assert_eq!(single, usize::from(!works));
    }
}

#[tokio::test]
async fn sensors_come_from_the_new_schema_where_the_old_is_missing() {
    let chassis = "/redfish/v1/Chassis/1";
    let to = |name: &str| json!({"@odata.id": format!("{chassis}/{name}")});
    let service = Service::machine(
        json!({}),
        vec![
            json!({"@odata.id": chassis, "ThermalSubsystem": to("ThermalSubsystem"),
                   "PowerSubsystem": to("PowerSubsystem"), "Sensors": to("Sensors"),
                   "EnvironmentMetrics": to("EnvironmentMetrics")}),
            json!({"@odata.id": format!("{chassis}/ThermalSubsystem"), "Fans": to("Fans")}),
            collection(&format!("{chassis}/Fans"), &["/redfish/v1/Chassis/1/Fans/1"]),
            json!({"@odata.id": "/redfish/v1/Chassis/1/Fans/1", "Name": "Fan 1",
                   "SpeedPercent": {"Reading": 30, "SpeedRPM": 6000}}),
            json!({"@odata.id": format!("{chassis}/PowerSubsystem"), "PowerSupplies": to("Supplies")}),
            collection(&format!("{chassis}/Supplies"), &["/redfish/v1/Chassis/1/Supplies/0"]),
            json!({"@odata.id": "/redfish/v1/Chassis/1/Supplies/0", "Name": "PSU0",
                   "Metrics": to("Supplies/0/Metrics")}),
            json!({"@odata.id": "/redfish/v1/Chassis/1/Supplies/0/Metrics",
                   "InputPowerWatts": {"Reading": 250.5}}),
            json!({"@odata.id": "/redfish/v1/Chassis/1/EnvironmentMetrics",
                   "PowerWatts": {"Reading": 480}}),
            collection(&format!("{chassis}/Sensors"), &["/redfish/v1/Chassis/1/Sensors/t"]),
            json!({"@odata.id": "/redfish/v1/Chassis/1/Sensors/t", "Name": "Inlet",
                   "ReadingType": "Temperature", "Reading": 22, "ReadingUnits": "Cel"}),
        ],
    )
    .await;
    let sensors = service.client().sensors().await.unwrap();
    assert_eq!(sensors.fans[0].value, Some(6000.0));
    assert_eq!(sensors.supplies[0].input_watts, Some(250.5));
    assert_eq!(sensors.power_watts, Some(480.0));
    assert_eq!(sensors.temperatures[0].name, "Inlet");
    assert!(sensors.gaps.is_empty());
}

/// A log of 95 entries in pages of 10, in either order.
async fn log_service(ascending: bool, skips: bool) -> Service {
    let entries = "/redfish/v1/Managers/1/LogServices/Sel/Entries";
    let service = Service::machine(
        json!({}),
        vec![
            collection(
                "/redfish/v1/Managers/1/LogServices",
                &[
                    "/redfish/v1/Managers/1/LogServices/AuditLog",
                    "/redfish/v1/Managers/1/LogServices/Lclog",
                    "/redfish/v1/Managers/1/LogServices/Sel",
                ],
            ),
            json!({"@odata.id": "/redfish/v1/Managers/1/LogServices/AuditLog", "Id": "AuditLog"}),
            json!({"@odata.id": "/redfish/v1/Managers/1/LogServices/Lclog", "Id": "Lclog"}),
            json!({"@odata.id": "/redfish/v1/Managers/1/LogServices/Sel", "Id": "Sel",
                   "Entries": {"@odata.id": entries}}),
        ],
    )
    .await;
    service.rule(move |seen, _| {
        let rest = seen.path.strip_prefix(entries)?;
        let skip = rest.strip_prefix("?$skip=");
        let from: usize = match skip {
            Some(_) if !skips => return refusal(501, "Base.1.8.QueryNotSupported"),
            Some(skip) => skip.parse().unwrap(),
            None => rest.strip_prefix("?page=").map_or(0, |page| page.parse().unwrap()),
        };
        let members: Vec<Value> = (from..(from + 10).min(95))
            .map(|place| {
                let number = if ascending { place } else { 94 - place };
                json!({"Id": number.to_string(), "Message": format!("entry {number}"),
                       "Severity": "OK", "Created": format!("2026-01-01T00:{:02}:{:02}Z", number / 60, number % 60)})
            })
            .collect();
        let mut page = json!({"Members@odata.count": 95, "Members": members});
        if from + 10 < 95 {
            page["Members@odata.nextLink"] = json!(format!("{entries}?page={}", from + 10));
        }
        reply(200, page)
    });
    service
}

#[tokio::test]
async fn newest_log_entries_are_found_in_either_order() {
    for (ascending, pages) in [(false, 1), (true, 2)] {
        let service = log_service(ascending, true).await;
        let log = service.client().event_log(5).await.unwrap();
        let ids: Vec<&str> = log.entries.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["94", "93", "92", "91", "90"]);
        assert_eq!(log.total, Some(95));
        assert!(log.service.ends_with("/Sel"));
        let read = service
            .log()
            .iter()
            .filter(|seen| seen.path.contains("/Entries"))
            .count();
        assert_eq!(read, pages);
    }
}

#[tokio::test]
async fn machine_without_a_log_says_so() {
    let service = Service::machine(json!({}), vec![]).await;
    let error = service.client().event_log(5).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }) && !error.is_transient());
}

#[tokio::test]
async fn indicator_is_set_on_the_system_or_its_chassis_and_read_back() {
    let service = Service::machine(json!({"LocationIndicatorActive": false}), vec![]).await;
    let client = service.client();
    client
        .set_indicator(IndicatorState::Blinking)
        .await
        .unwrap();
    client
        .set_indicator(IndicatorState::Blinking)
        .await
        .unwrap();
    assert_eq!(client.indicator().await.unwrap(), Some(true));
    assert_eq!(
        service.bodies("PATCH"),
        [json!({"LocationIndicatorActive": true})]
    );

    let chassis = json!({"@odata.id": "/redfish/v1/Chassis/1", "IndicatorLED": "Off",
                         "IndicatorLED@Redfish.AllowableValues": ["Lit", "Off"]});
    let service = Service::machine(json!({}), vec![chassis]).await;
    let client = service.client();
    client
        .set_indicator(IndicatorState::Blinking)
        .await
        .unwrap();
    assert_eq!(service.writes(), ["PATCH /redfish/v1/Chassis/1"]);
    assert_eq!(
        service.resource("/redfish/v1/Chassis/1")["IndicatorLED"],
        "Lit"
    );

    let service = Service::machine(json!({}), vec![]).await;
    let client = service.client();
    assert_eq!(client.indicator().await.unwrap(), None);
    assert!(matches!(
        client.set_indicator(IndicatorState::Blinking).await,
        Err(Error::Unsupported { .. })
    ));
}

const DRIVE: &str = "/redfish/v1/Managers/1/VirtualMedia/CD";

async fn media_service(actions: bool) -> Service {
    let mut drive = json!({"@odata.id": DRIVE, "MediaTypes": ["CD", "DVD"], "Inserted": false,
                           "Image": null, "ImageName": null});
    if actions {
        drive["Actions"] = json!({
            "#VirtualMedia.InsertMedia": {"target": format!("{DRIVE}/Actions/VirtualMedia.InsertMedia")},
            "#VirtualMedia.EjectMedia": {"target": format!("{DRIVE}/Actions/VirtualMedia.EjectMedia")},
        });
    }
    let service = Service::machine(
        json!({}),
        vec![
            collection(
                "/redfish/v1/Managers/1/VirtualMedia",
                &["/redfish/v1/Managers/1/VirtualMedia/Stick", DRIVE],
            ),
            json!({"@odata.id": "/redfish/v1/Managers/1/VirtualMedia/Stick",
                   "MediaTypes": ["USBStick"], "Inserted": false}),
            drive,
        ],
    )
    .await;
    service.rule(|seen, resources| {
        let (_, action) = seen.path.split_once("/Actions/VirtualMedia.")?;
        let drive = resources.get_mut(DRIVE).unwrap();
        assert_eq!(seen.if_match, None, "actions go without a precondition");
        if action == "InsertMedia" {
            // As Supermicro does.
            if seen.body.get("Inserted").is_some() {
                return refusal(400, "Base.1.8.ActionParameterUnknown");
            }
            drive["Image"] = seen.body["Image"].clone();
            drive["ImageName"] = json!("boot.iso");
        } else {
            drive["Image"] = Value::Null;
        }
        drive["Inserted"] = json!(action == "InsertMedia");
        reply(204, Value::Null)
    });
    service
}

#[tokio::test]
async fn media_are_inserted_replaced_and_ejected_by_action() {
    let service = media_service(true).await;
    let client = service.client();
    let drive = client.insert_media("http://a/1.iso").await.unwrap();
    assert_eq!(drive.image.as_deref(), Some("http://a/1.iso"));
    assert_eq!(service.writes().len(), 2, "refused whole, taken bare");
    client.insert_media("http://a/1.iso").await.unwrap();
    assert_eq!(service.writes().len(), 2, "the same image is left in");
    client.insert_media("http://a/2.iso").await.unwrap();
    client.eject_media().await.unwrap();
    client.eject_media().await.unwrap();
    let ejects = service
        .writes()
        .iter()
        .filter(|write| write.ends_with("EjectMedia"))
        .count();
    assert_eq!(ejects, 2);
}

#[tokio::test]
async fn media_without_actions_are_patched() {
    let service = media_service(false).await;
    let client = service.client();
    client.insert_media("http://a/1.iso").await.unwrap();
    client.eject_media().await.unwrap();
    assert_eq!(
        service.bodies("PATCH"),
        [
            json!({"Image": "http://a/1.iso", "Inserted": true, "WriteProtected": true}),
            json!({"Image": null, "Inserted": false})
        ]
    );
}

#[tokio::test]
async fn image_that_is_not_taken_is_an_error() {
    let service = media_service(false).await;
    service.rule(|seen, _| {
        (seen.method == "PATCH")
            .then(|| reply(204, Value::Null))
            .flatten()
    });
    let error = service
        .client()
        .insert_media("http://a/1.iso")
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "NotApplied");
    assert_eq!(
        error.to_string(),
        "BMC accepted virtual media http://a/1.iso and then reported none"
    );
}

fn accounts() -> Vec<Value> {
    vec![
        json!({"@odata.id": "/redfish/v1/AccountService",
               "Accounts": {"@odata.id": "/redfish/v1/AccountService/Accounts"},
               "AccountLockoutThreshold": 3, "AccountLockoutDuration": 600}),
        collection(
            "/redfish/v1/AccountService/Accounts",
            &[
                "/redfish/v1/AccountService/Accounts/1",
                "/redfish/v1/AccountService/Accounts/2",
            ],
        ),
        json!({"@odata.id": "/redfish/v1/AccountService/Accounts/1", "UserName": ""}),
        json!({"@odata.id": "/redfish/v1/AccountService/Accounts/2", "UserName": "admin",
               "@odata.etag": "\"a\""}),
    ]
}

const OLD: &str = "Basic YWRtaW46cmlnaHQ=";
const NEW: &str = "Basic YWRtaW46bmV3ZXI=";

#[tokio::test]
async fn own_password_is_changed_proven_and_used() {
    let service = Service::machine(json!({}), accounts()).await;
    let mut changed = false;
    service.rule(move |seen, _| {
        if seen.path == "/redfish/v1/" {
            return None;
        }
        let wanted = if changed { NEW } else { OLD };
        if seen.authorization.as_deref() != Some(wanted) {
            return refusal(401, "Base.1.8.AccessDenied");
        }
        if seen.method == "PATCH" {
            assert_eq!(seen.if_match.as_deref(), Some("\"a\""));
            assert_eq!(seen.body, json!({"Password": "newer"}));
            changed = true;
            return reply(204, Value::Null);
        }
        None
    });
    let client = service.client();
    assert_eq!(client.accounts().await.unwrap().len(), 1);
    assert_eq!(client.lockout_policy().await.unwrap().threshold, Some(3));
    client
        .change_own_password(&SecretString::from("newer"))
        .await
        .unwrap();
    client.system().await.unwrap();
    let refused = client
        .change_password("nobody", &SecretString::from("x"))
        .await;
    assert!(matches!(refused, Err(Error::AccountNotFound { .. })));
}

#[tokio::test]
async fn demanded_password_change_is_possible_and_nothing_else() {
    let mut resources = accounts();
    resources.push(json!({
        "@odata.id": "/redfish/v1/",
        "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}},
    }));
    let service = Service::machine(json!({}), resources).await;
    let mut changed = false;
    service.rule(move |seen, _| {
        if seen.path == "/redfish/v1/" {
            return None;
        }
        if changed {
            // A session again, now with the new password.
            if seen.method == "POST" {
                assert_eq!(seen.body["Password"], "newer");
                let mut session = reply(201, json!({}));
                if let Some(session) = &mut session {
                    session.headers.push(("X-Auth-Token", "t".into()));
                    session.headers.push(("Location", "/redfish/v1/S/1".into()));
                }
                return session;
            }
            return None;
        }
        if seen.method == "PATCH" && seen.path.ends_with("/Accounts/2") {
            assert_eq!(seen.authorization.as_deref(), Some(OLD));
            changed = true;
            return reply(204, Value::Null);
        }
        reply(
            403,
            json!({"error": {"@Message.ExtendedInfo": [{
                "MessageId": "Base.1.8.PasswordChangeRequired",
                "MessageArgs": ["/redfish/v1/AccountService/Accounts/2"],
            }]}}),
        )
    });
    let client = service.client();
    let error = client.system().await.unwrap_err();
    assert_eq!(error.reason(), "PasswordChangeRequired");
    assert!(!error.is_transient());
    client
        .change_own_password(&SecretString::from("newer"))
        .await
        .unwrap();
    client.system().await.unwrap();
}

#[tokio::test]
async fn consoles_and_sessions_are_told() {
    let service = Service::machine(
        json!({"SerialConsole": {"SSH": {"ServiceEnabled": true, "Port": 2200}}}),
        vec![
            json!({"@odata.id": "/redfish/v1/", "Vendor": "Dell",
                   "Links": {"Sessions": {"@odata.id": "/redfish/v1/Sessions"}}}),
            collection("/redfish/v1/Sessions", &["/redfish/v1/Sessions/1", "/redfish/v1/Sessions/2"]),
            json!({"@odata.id": "/redfish/v1/Managers/1", "GraphicalConsole": {
                "ServiceEnabled": true, "ConnectTypesSupported": ["KVMIP"], "MaxConcurrentSessions": 6}}),
        ],
    )
    .await;
    service.rule(|seen, _| {
        (seen.method == "POST").then(|| {
            let mut session = reply(201, json!({})).unwrap();
            session.headers.push(("X-Auth-Token", "t".into()));
            session
        })
    });
    let client = service.client();
    let consoles = client.consoles().await.unwrap();
    assert!(consoles.url.starts_with("http://127.0.0.1:") && consoles.url.ends_with("/console"));
    assert_eq!(consoles.serial.unwrap().port, Some(2200));
    assert_eq!(consoles.graphical.unwrap().max_sessions, Some(6));
    assert_eq!(client.session_count().await.unwrap(), Some(2));
}

fn bios(attributes: &Value) -> Vec<Value> {
    vec![
        json!({"@odata.id": "/redfish/v1/Systems/1/Bios", "Attributes": attributes,
               "@Redfish.Settings": {
                   "SettingsObject": {"@odata.id": "/redfish/v1/Systems/1/Bios/Settings"},
                   "SupportedApplyTimes": ["OnReset"]}}),
        json!({"@odata.id": "/redfish/v1/Systems/1/Bios/Settings", "@odata.etag": "\"b\""}),
    ]
}

#[tokio::test]
async fn bios_attributes_go_to_the_settings_object_once() {
    let service = Service::machine(
        json!({"Bios": {"@odata.id": "/redfish/v1/Systems/1/Bios"}}),
        bios(&json!({"A": "1", "B": "2"})),
    )
    .await;
    service.rule(|seen, resources| {
        (seen.method == "PATCH").then(|| {
            let settings = resources
                .get_mut("/redfish/v1/Systems/1/Bios/Settings")
                .unwrap();
            settings["Attributes"] = seen.body["Attributes"].clone();
            // The job waits for the next boot, which is no failure.
            let mut job = reply(202, json!({})).unwrap();
            job.headers.push(("Location", "/redfish/v1/Jobs/1".into()));
            resources.insert(
                "/redfish/v1/Jobs/1".into(),
                json!({"JobState": "Scheduled"}),
            );
            job
        })
    });
    let client = service.client();
    let wanted = BTreeMap::from([("A".to_owned(), json!("1")), ("B".to_owned(), json!("3"))]);
    client.set_bios(&wanted).await.unwrap();
    client.set_bios(&wanted).await.unwrap();
    assert_eq!(
        service.writes(),
        ["PATCH /redfish/v1/Systems/1/Bios/Settings"]
    );
    let sent = &service.bodies("PATCH")[0];
    assert_eq!(sent["Attributes"], json!({"B": "3"}));
    assert_eq!(sent["@Redfish.SettingsApplyTime"]["ApplyTime"], "OnReset");
}

fn static_address() -> StaticAddress {
    StaticAddress {
        mac: "e4:3d:1a:13:27:f0".into(),
        address: Ipv4Addr::new(10, 0, 0, 5),
        prefix: 24,
        gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
        name_servers: vec![Ipv4Addr::new(10, 0, 0, 2)],
    }
}

#[tokio::test]
async fn http_boot_is_configured_the_standard_way() {
    let mut system = inventory_links();
    system["Boot"] = json!({"HttpBootUri": null});
    let service = Service::machine(system, inventory_tree()).await;
    let client = service.client();
    let report = client
        .set_http_boot("http://10.0.0.1/shim.efi", Some(&static_address()))
        .await
        .unwrap();
    assert_eq!(report.url, [HttpBootWay::Standard]);
    assert_eq!(report.address, [HttpBootWay::Standard]);
    let nic = service.resource("/redfish/v1/Systems/1/EthernetInterfaces/1");
    assert_eq!(nic["DHCPv4"]["DHCPEnabled"], false);
    assert_eq!(nic["IPv4StaticAddresses"][0]["SubnetMask"], "255.255.255.0");
    let sent = service.log();
    let patch = sent.iter().find(|seen| seen.method == "PATCH").unwrap();
    assert_eq!(patch.if_match.as_deref(), Some("\"nic\""));
    let boot = &service.resource(SYSTEM)["Boot"];
    assert_eq!(boot["HttpBootUri"], "http://10.0.0.1/shim.efi");
    assert_eq!(boot["BootSourceOverrideTarget"], "UefiHttp");
}

#[tokio::test]
async fn http_boot_falls_back_to_bios_attributes() {
    let mut tree = bios(&json!({
        "HttpDev1EnDis": "Enabled", "HttpDev1Uri": "", "HttpDev1DhcpEnDis": "Enabled",
        "HttpDev1Ip": "", "HttpDev1Mask": "", "HttpDev1Gateway": "", "HttpDev1Dns1": "",
    }));
    tree.extend(inventory_tree());
    let mut system = inventory_links();
    system["Bios"] = json!({"@odata.id": "/redfish/v1/Systems/1/Bios"});
    let service = Service::machine(system, tree).await;
    service.rule(|seen, _| {
        let is_nic = seen.path.contains("EthernetInterfaces");
        (seen.method == "PATCH" && is_nic)
            .then(|| refusal(405, "Base.1.8.OperationNotAllowed"))
            .flatten()
    });
    let client = service.client();
    let report = client
        .set_http_boot("http://10.0.0.1/shim.efi", Some(&static_address()))
        .await
        .unwrap();
    assert_eq!(
        (report.url, report.address),
        (vec![HttpBootWay::Bios], vec![HttpBootWay::Bios])
    );
    let pending = &service.resource("/redfish/v1/Systems/1/Bios/Settings")["Attributes"];
    assert_eq!(pending["HttpDev1Uri"], "http://10.0.0.1/shim.efi");
    assert_eq!(pending["HttpDev1Mask"], "255.255.255.0");
    assert_eq!(
        service.resource(SYSTEM)["Boot"]["BootSourceOverrideTarget"],
        "UefiHttp"
    );
}

#[tokio::test]
async fn url_that_fits_nowhere_is_refused_before_anything_is_sent() {
    let service = Service::machine(json!({}), vec![]).await;
    let error = service
        .client()
        .set_http_boot("http://10.0.0.1/shim.efi", None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "Unsupported");
    assert!(service.writes().is_empty());
}
