//! The boot override.

use redfish::{BootOverride, BootSourceOverrideTarget as Target};
use serde_json::json;

use crate::fixture::{Service, refusal};

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
