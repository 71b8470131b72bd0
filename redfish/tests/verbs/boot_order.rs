//! The persistent boot order.

use redfish::promote;
use serde_json::{Value, json};

use crate::{
    SYSTEM,
    fixture::{Service, collection, reply},
};

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
