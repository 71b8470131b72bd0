//! The event log and its pages.

use redfish::Error;
use serde_json::{Value, json};

use crate::fixture::{Service, collection, refusal, reply};

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
