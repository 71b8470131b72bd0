//! Passwords of accounts.

use redfish::Error;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::fixture::{Service, collection, refusal, reply};

fn accounts() -> Vec<Value> {
    vec![
        json!({"@odata.id": "/redfish/v1/AccountService",
               "Accounts": {"@odata.id": "/redfish/v1/AccountService/Accounts"},
               "AccountLockoutThreshold": 3, "AccountLockoutDuration": 600}),
        collection(
            "/redfish/v1/AccountService/Accounts",
            &[
                "/redfish/v1/AccountService/Accounts/1",
                "/redfish/v1/AccountService/Accounts/2",
            ],
        ),
        json!({"@odata.id": "/redfish/v1/AccountService/Accounts/1", "UserName": ""}),
        json!({"@odata.id": "/redfish/v1/AccountService/Accounts/2", "UserName": "admin",
               "@odata.etag": "\"a\""}),
    ]
}

const OLD: &str = "Basic YWRtaW46cmlnaHQ=";
const NEW: &str = "Basic YWRtaW46bmV3ZXI=";

#[tokio::test]
async fn own_password_is_changed_proven_and_used() {
    let service = Service::machine(json!({}), accounts()).await;
    let mut changed = false;
    service.rule(move |seen, _| {
        if seen.path == "/redfish/v1/" {
            return None;
        }
        let wanted = if changed { NEW } else { OLD };
        if seen.authorization.as_deref() != Some(wanted) {
            return refusal(401, "Base.1.8.AccessDenied");
        }
        if seen.method == "PATCH" {
            assert_eq!(seen.if_match.as_deref(), Some("\"a\""));
            assert_eq!(seen.body, json!({"Password": "newer"}));
            changed = true;
            return reply(204, Value::Null);
        }
        None
    });
    let client = service.client();
    assert_eq!(client.accounts().await.unwrap().len(), 1);
    assert_eq!(client.lockout_policy().await.unwrap().threshold, Some(3));
    client
        .change_own_password(&SecretString::from("newer"))
        .await
        .unwrap();
    client.system().await.unwrap();
    let refused = client
        .change_password("nobody", &SecretString::from("x"))
        .await;
    assert!(matches!(refused, Err(Error::AccountNotFound { .. })));
}

#[tokio::test]
async fn demanded_password_change_is_possible_and_nothing_else() {
    let mut resources = accounts();
    resources.push(json!({
        "@odata.id": "/redfish/v1/",
        "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}},
    }));
    let service = Service::machine(json!({}), resources).await;
    let mut changed = false;
    service.rule(move |seen, _| {
        if seen.path == "/redfish/v1/" {
            return None;
        }
        if changed {
            // A session again, now with the new password.
            if seen.method == "POST" {
                assert_eq!(seen.body["Password"], "newer");
                let mut session = reply(201, json!({}));
                if let Some(session) = &mut session {
                    session.headers.push(("X-Auth-Token", "t".into()));
                    session.headers.push(("Location", "/redfish/v1/S/1".into()));
                }
                return session;
            }
            return None;
        }
        if seen.method == "PATCH" && seen.path.ends_with("/Accounts/2") {
            assert_eq!(seen.authorization.as_deref(), Some(OLD));
            changed = true;
            return reply(204, Value::Null);
        }
        reply(
            403,
            json!({"error": {"@Message.ExtendedInfo": [{
                "MessageId": "Base.1.8.PasswordChangeRequired",
                "MessageArgs": ["/redfish/v1/AccountService/Accounts/2"],
            }]}}),
        )
    });
    let client = service.client();
    let error = client.system().await.unwrap_err();
    assert_eq!(error.reason(), "PasswordChangeRequired");
    assert!(!error.is_transient());
    client
        .change_own_password(&SecretString::from("newer"))
        .await
        .unwrap();
    client.system().await.unwrap();
}
