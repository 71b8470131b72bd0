//! Consoles and sessions.

use serde_json::json;

use crate::fixture::{Service, collection, reply};

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
