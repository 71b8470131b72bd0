//! The indicator LED.

use redfish::{Error, IndicatorState};
use serde_json::json;

use crate::fixture::Service;

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
