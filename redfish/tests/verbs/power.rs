//! Reading the power state.

use redfish::PowerState;
use serde_json::json;

use crate::fixture::Service;

#[tokio::test]
async fn power_is_read_with_one_request() {
    let service = Service::machine(json!({"PowerState": "On"}), vec![]).await;
    let client = service.client();
    assert_eq!(client.power_state().await.unwrap(), PowerState::On);
    let before = service.log().len();
    client.power_state().await.unwrap();
    assert_eq!(service.log().len(), before + 1);
}
