//! Virtual media.

use serde_json::{Value, json};

use crate::fixture::{Service, collection, refusal, reply};

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
