//! Install tokens, boot capabilities, boots, and what is remembered about BMCs.

use futures::future::join_all;

use super::at;
use crate::store::{
    BmcPin, BmcReadingRow, BootSighting, ClaimOutcome, NewCapability, NewToken, RefusedCredential,
    Store,
};

fn token(token: &str, expires_at: i64) -> NewToken {
    NewToken {
        token: token.into(),
        machine: "node-1".into(),
        operation_uid: "uid-1".into(),
        attempt: 1,
        image_digest: "sha256:aa".into(),
        expires_at: at(expires_at),
    }
}

pub(super) async fn a_token_is_claimed_by_one_boot_only(store: &Store) {
    let tokens = store.install_tokens();
    tokens.mint(&token("t", 100), at(0)).await.expect("minted");
    let first = tokens.claim("t", "boot-a", at(5)).await.expect("claims");
    let ClaimOutcome::Claimed(held) = first else {
        panic!("{first:?}")
    };
    assert_eq!(held.claim, Some(("boot-a".into(), at(5))));
    // The lost answer: the same boot asks again, even after the expiry of the offer.
    let again = tokens.claim("t", "boot-a", at(200)).await.expect("claims");
    assert_eq!(again, ClaimOutcome::SameBoot(held));
    assert_eq!(
        tokens.claim("t", "boot-b", at(6)).await.expect("claims"),
        ClaimOutcome::OtherBoot
    );
}

pub(super) async fn a_token_tells_why_it_refuses(store: &Store) {
    let tokens = store.install_tokens();
    assert_eq!(
        tokens.claim("none", "b", at(0)).await.expect("claims"),
        ClaimOutcome::Unknown
    );

    tokens
        .mint(&token("late", 100), at(0))
        .await
        .expect("minted");
    assert_eq!(
        tokens.claim("late", "b", at(100)).await.expect("claims"),
        ClaimOutcome::Expired
    );

    tokens
        .mint(&token("used", 100), at(0))
        .await
        .expect("minted");
    assert!(
        !tokens.consume("used", at(1)).await.expect("consumes"),
        "not claimed yet"
    );
    tokens.claim("used", "b", at(1)).await.expect("claims");
    assert!(tokens.consume("used", at(2)).await.expect("consumes"));
    assert!(
        !tokens.consume("used", at(3)).await.expect("consumes"),
        "consumed before"
    );
    assert_eq!(
        tokens.claim("used", "b", at(3)).await.expect("claims"),
        ClaimOutcome::Consumed
    );

    tokens
        .mint(&token("gone", 100), at(0))
        .await
        .expect("minted");
    let revoked = tokens
        .revoke_of("uid-1", "node-1", at(4))
        .await
        .expect("revokes");
    assert_eq!(revoked, 2, "late and gone; used is finished");
    assert_eq!(
        tokens.claim("gone", "b", at(5)).await.expect("claims"),
        ClaimOutcome::Revoked
    );
}

pub(super) async fn of_many_claims_at_once_one_wins(store: &Store) {
    let tokens = store.install_tokens();
    tokens.mint(&token("t", 100), at(0)).await.expect("minted");
    let boots: Vec<String> = (0..8).map(|n| format!("boot-{n}")).collect();
    let outcomes = join_all(boots.iter().map(|boot| tokens.claim("t", boot, at(1)))).await;
    let won = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(ClaimOutcome::Claimed(_))))
        .count();
    let lost = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(ClaimOutcome::OtherBoot)))
        .count();
    assert_eq!((won, lost), (1, 7), "{outcomes:?}");
}

pub(super) async fn live_tokens_survive_their_expiry_once_claimed(store: &Store) {
    let tokens = store.install_tokens();
    tokens
        .mint(&token("claimed", 100), at(0))
        .await
        .expect("minted");
    tokens
        .mint(&token("waiting", 100), at(1))
        .await
        .expect("minted");
    tokens.claim("claimed", "b", at(2)).await.expect("claims");
    let names = |tokens: Vec<crate::store::InstallToken>| -> Vec<String> {
        tokens.into_iter().map(|token| token.token).collect()
    };
    assert_eq!(
        names(tokens.live(at(50)).await.expect("lists")),
        ["claimed", "waiting"]
    );
    let late = tokens.live(at(100)).await.expect("lists");
    assert!(late.iter().all(|token| token.is_live(at(100))));
    assert_eq!(names(late), ["claimed"]);
}

pub(super) async fn capabilities_are_revoked_per_machine(store: &Store) {
    let boots = store.boots();
    for (capability, machine) in [("c1", "node-1"), ("c2", "node-2")] {
        let new = NewCapability {
            capability: capability.into(),
            machine: machine.into(),
            operation_uid: Some("uid-1".into()),
        };
        boots.mint_capability(&new, at(0)).await.expect("minted");
        assert!(
            !format!("{new:?}").contains(capability),
            "Debug hides the capability"
        );
    }
    assert_eq!(
        boots
            .revoke_capabilities("node-1", at(1))
            .await
            .expect("revokes"),
        1
    );
    let revoked = boots
        .capability("c1")
        .await
        .expect("finds")
        .expect("is there");
    assert_eq!(
        (revoked.machine.as_str(), revoked.revoked_at),
        ("node-1", Some(at(1)))
    );
    let kept = boots
        .capability("c2")
        .await
        .expect("finds")
        .expect("is there");
    assert_eq!(kept.revoked_at, None);
    assert_eq!(boots.capability("c3").await.expect("finds"), None);
}

pub(super) async fn a_boot_is_new_once(store: &Store) {
    let sighting = |boot_id: &str, micros| BootSighting {
        machine: "node-1".into(),
        boot_id: boot_id.into(),
        at: at(micros),
        kernel: "6.1.0".into(),
        agent_version: "0.1.0".into(),
        machine_uuid: None,
    };
    let boots = store.boots();
    assert!(boots.record_boot(&sighting("a", 1)).await.expect("records"));
    assert!(!boots.record_boot(&sighting("a", 2)).await.expect("records"));
    assert!(boots.record_boot(&sighting("b", 3)).await.expect("records"));
    assert!(!boots.record_boot(&sighting("a", 4)).await.expect("records"));
    let latest = boots
        .latest("node-1")
        .await
        .expect("finds")
        .expect("is there");
    assert_eq!(
        latest.boot_id, "b",
        "a late heartbeat of an older boot is not a newer boot"
    );
    let newer = boots.since("node-1", at(1)).await.expect("lists");
    assert_eq!(
        newer
            .iter()
            .map(|boot| boot.boot_id.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(boots.latest("node-2").await.expect("finds"), None);
}

pub(super) async fn a_refused_password_is_remembered_per_version(store: &Store) {
    let bmc = store.bmc();
    let refused = RefusedCredential {
        address: "10.77.1.1".into(),
        secret_uid: "s".into(),
        secret_resource_version: "7".into(),
        refused_at: at(0),
    };
    bmc.refuse(&refused).await.expect("noted");
    assert!(bmc.is_refused("10.77.1.1", "s", "7").await.expect("finds"));
    assert!(
        !bmc.is_refused("10.77.1.1", "s", "8").await.expect("finds"),
        "a new Secret may try"
    );
    assert!(!bmc.is_refused("10.77.1.2", "s", "7").await.expect("finds"));
    assert_eq!(bmc.refused().await.expect("lists"), [refused]);
    bmc.accept("10.77.1.1", "s").await.expect("forgotten");
    assert_eq!(bmc.refused().await.expect("lists"), []);
}

pub(super) async fn the_first_certificate_is_pinned(store: &Store) {
    let bmc = store.bmc();
    let pin = |fingerprint: &str| BmcPin {
        address: "10.77.1.1".into(),
        fingerprint: fingerprint.into(),
        pinned_at: at(0),
    };
    assert_eq!(bmc.pin_first(&pin("aa")).await.expect("pins"), pin("aa"));
    assert_eq!(bmc.pin_first(&pin("bb")).await.expect("pins"), pin("aa"));
    bmc.pin_anew(&pin("bb")).await.expect("pins");
    assert_eq!(bmc.pin_first(&pin("cc")).await.expect("pins"), pin("bb"));
}

pub(super) async fn a_bmc_keeps_its_last_reading(store: &Store) {
    let readings = store.bmc_readings();
    let row = |machine: &str, second, health: &str| BmcReadingRow {
        machine: machine.into(),
        read_at: at(second),
        body: serde_json::json!({ "system_health": health }),
    };
    for row in [row("b", 1, "OK"), row("a", 2, "OK"), row("b", 3, "Warning")] {
        readings.put(&row).await.expect("kept");
    }
    let all = readings.all().await.expect("lists");
    assert_eq!(all, [row("a", 2, "OK"), row("b", 3, "Warning")]);
    let gone = ["a".to_owned(), "unknown".to_owned()];
    readings.forget(&gone).await.expect("forgets");
    let all = readings.all().await.expect("lists");
    assert_eq!(all, [row("b", 3, "Warning")]);
}
