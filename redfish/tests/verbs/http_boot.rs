//! BIOS attributes, and UEFI HTTP boot by them or without.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use redfish::{HttpBootWay, StaticAddress};
use serde_json::{Value, json};

use crate::{
    SYSTEM,
    fixture::{Service, refusal, reply},
    inventory::{inventory_links, inventory_tree},
};

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
