//! Which system, manager and chassis are meant.

use redfish::PowerState;
use serde_json::json;

use crate::{
    SYSTEM,
    fixture::{Service, collection, refusal},
};

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
