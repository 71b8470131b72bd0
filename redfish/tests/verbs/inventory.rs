//! The inventory.

use serde_json::{Value, json};

use crate::{
    SYSTEM,
    fixture::{Service, collection, refusal, reply},
};

pub(crate) fn inventory_tree() -> Vec<Value> {
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

pub(crate) fn inventory_links() -> Value {
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
