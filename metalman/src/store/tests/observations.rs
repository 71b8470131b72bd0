//! Timeline, evidence, sightings, audit.

use futures::future::join_all;
use serde_json::json;

use super::at;
use crate::store::{
    EvidenceKind, LeaseSeen, NewAuditEntry, NewEvidence, NewTimelineEntry, Observed, Store,
    TimelineSource, UnknownMacSeen,
};

fn entry(machine: &str, text: impl Into<String>) -> NewTimelineEntry {
    NewTimelineEntry {
        machine: machine.into(),
        at: at(0),
        source: TimelineSource::Tftp,
        text: text.into(),
        detail: json!({"bytes": 1}),
        operation: None,
    }
}

fn fact(kind: EvidenceKind, micros: i64) -> NewEvidence {
    NewEvidence {
        machine: "node-1".into(),
        at: at(micros),
        kind,
        detail: json!({"n": micros}),
    }
}

pub(super) async fn a_batch_reaches_every_table(store: &Store) {
    let lease = LeaseSeen {
        machine: "node-1".into(),
        mac: "52:54:00:77:00:11".into(),
        ip: Some("10.77.0.11".into()),
        last_seen: at(1),
        last_message: "DHCPACK".into(),
    };
    let unknown = UnknownMacSeen {
        mac: "52:54:00:77:00:99".into(),
        at: at(1),
        arch: None,
        vendor_class: Some("PXEClient".into()),
        relay: None,
        circuit_id: None,
    };
    let batch = Observed {
        timeline: vec![entry("node-1", "x")],
        evidence: vec![fact(EvidenceKind::DhcpAck, 1)],
        leases: vec![
            lease.clone(),
            LeaseSeen {
                ip: None,
                last_message: "DHCPDISCOVER".into(),
                ..lease.clone()
            },
        ],
        unknown_macs: vec![unknown],
    };
    store.record(&batch).await.expect("recorded");
    store
        .record(&Observed::default())
        .await
        .expect("an empty batch is fine");
    assert_eq!(
        store
            .timeline()
            .list("node-1", None, 9)
            .await
            .expect("lists")
            .len(),
        1
    );
    assert_eq!(
        store
            .evidence()
            .since("node-1", at(0))
            .await
            .expect("lists")
            .len(),
        1
    );
    let leases = store
        .leases_seen()
        .of_machine("node-1")
        .await
        .expect("lists");
    assert_eq!(
        leases,
        [LeaseSeen {
            last_message: "DHCPDISCOVER".into(),
            ..lease
        }]
    );
    assert_eq!(store.leases_seen().all().await.expect("lists"), leases);
    assert_eq!(store.unknown_macs().all().await.expect("lists").len(), 1);
}

pub(super) async fn the_timeline_pages_back_and_follows(store: &Store) {
    let timeline = store.timeline();
    assert_eq!(timeline.last_id().await.expect("finds"), 0);
    let entries: Vec<_> = (0..5).map(|n| entry("node-1", format!("e{n}"))).collect();
    timeline.append(&entries).await.expect("appended");
    timeline
        .append(&[entry("node-2", "other")])
        .await
        .expect("appended");

    let newest = timeline.list("node-1", None, 2).await.expect("lists");
    assert_eq!(
        newest.iter().map(|e| e.text.as_str()).collect::<Vec<_>>(),
        ["e4", "e3"]
    );
    let older = timeline
        .list("node-1", newest.last().map(|e| e.id), 2)
        .await
        .expect("lists");
    assert_eq!(
        older.iter().map(|e| e.text.as_str()).collect::<Vec<_>>(),
        ["e2", "e1"]
    );

    let after = timeline.list_since(newest[0].id, 10).await.expect("lists");
    assert_eq!(
        after.iter().map(|e| e.text.as_str()).collect::<Vec<_>>(),
        ["other"]
    );
    assert_eq!(timeline.last_id().await.expect("finds"), after[0].id);
    assert_eq!(after[0].detail, json!({"bytes": 1}));
}

pub(super) async fn the_timeline_keeps_the_newest(store: &Store) {
    let timeline = store.timeline();
    let entries: Vec<_> = (0..2010)
        .map(|n| entry("node-1", format!("e{n}")))
        .collect();
    timeline
        .append(&[entry("node-2", "kept")])
        .await
        .expect("appended");
    timeline.append(&entries).await.expect("appended");
    let kept = timeline.list("node-1", None, 10_000).await.expect("lists");
    assert_eq!(kept.len(), 2000);
    assert_eq!(kept.last().map(|e| e.text.as_str()), Some("e10"));
    assert_eq!(
        timeline
            .list("node-2", None, 10)
            .await
            .expect("lists")
            .len(),
        1
    );
}

pub(super) async fn chatty_progress_does_not_push_out_other_evidence(store: &Store) {
    let mut facts = vec![fact(EvidenceKind::DhcpDiscover, 1)];
    facts.extend((2..500).map(|n| fact(EvidenceKind::InstallProgress, n)));
    store.evidence().append(&facts).await.expect("appended");
    let kept = store
        .evidence()
        .since("node-1", at(0))
        .await
        .expect("lists");
    assert_eq!(kept.len(), 65);
    assert_eq!(
        kept.first().map(|fact| fact.kind),
        Some(EvidenceKind::DhcpDiscover)
    );
    assert_eq!(kept.last().map(|fact| fact.at), Some(at(499)));
}

pub(super) async fn evidence_is_newer_than_the_start(store: &Store) {
    let facts: Vec<_> = EvidenceKind::ALL
        .into_iter()
        .zip(1..)
        .map(|(kind, n)| fact(kind, n))
        .collect();
    store
        .evidence()
        .append(&facts)
        .await
        .expect("appended: the database knows every kind");
    let newer = store
        .evidence()
        .since("node-1", at(10))
        .await
        .expect("lists");
    assert_eq!(
        newer.iter().map(|fact| fact.at).collect::<Vec<_>>(),
        [at(11), at(12)]
    );
    let kinds: Vec<_> = newer.iter().map(|fact| fact.kind).collect();
    assert_eq!(kinds, &EvidenceKind::ALL[10..]);
}

pub(super) async fn unknown_cards_are_counted(store: &Store) {
    let seen = |micros, vendor_class: Option<&str>| Observed {
        unknown_macs: vec![UnknownMacSeen {
            mac: "aa".into(),
            at: at(micros),
            arch: Some("x86_64 UEFI".into()),
            vendor_class: vendor_class.map(Into::into),
            relay: Some("10.1.0.1".into()),
            circuit_id: vendor_class.map(|_| "Eth1/7".into()),
        }],
        ..Observed::default()
    };
    store
        .record(&seen(1, Some("PXEClient")))
        .await
        .expect("recorded");
    store.record(&seen(2, None)).await.expect("recorded");
    let [card] = store
        .unknown_macs()
        .all()
        .await
        .expect("lists")
        .try_into()
        .expect("one card");
    assert_eq!(
        (card.count, card.first_seen, card.last_seen),
        (2, at(1), at(2))
    );
    assert_eq!(
        card.vendor_class.as_deref(),
        Some("PXEClient"),
        "silence does not erase"
    );
    assert_eq!(
        (card.relay.as_deref(), card.circuit_id),
        (Some("10.1.0.1"), None),
        "the place is the last one"
    );
    store.unknown_macs().forget("aa").await.expect("forgotten");

    let flood = Observed {
        unknown_macs: (0..1100)
            .map(|n| UnknownMacSeen {
                mac: format!("{n}"),
                at: at(n),
                arch: None,
                vendor_class: None,
                relay: None,
                circuit_id: None,
            })
            .collect(),
        ..Observed::default()
    };
    store.record(&flood).await.expect("recorded");
    assert_eq!(store.unknown_macs().all().await.expect("lists").len(), 1000);
}

pub(super) async fn the_audit_log_pages_backwards(store: &Store) {
    for action in ["create", "delete"] {
        let entry = NewAuditEntry {
            at: at(0),
            actor: "admin".into(),
            action: action.into(),
            object: "MachineOperation/x".into(),
            detail: json!({}),
        };
        store.audit().append(&entry).await.expect("appended");
    }
    let newest = store.audit().list(None, 1).await.expect("lists");
    assert_eq!(newest[0].action, "delete");
    let older = store
        .audit()
        .list(Some(newest[0].id), 10)
        .await
        .expect("lists");
    assert_eq!(older[0].action, "create");
}

pub(super) async fn concurrent_writers_leave_no_gap_for_followers(store: &Store) {
    let timeline = store.timeline();
    let writers = (0..6).map(|writer| async move {
        for n in 0..5 {
            let batch = [
                entry("node-1", format!("{writer}/{n}a")),
                entry("node-1", "b"),
            ];
            timeline.append(&batch).await.expect("appended");
        }
    });
    let follower = async {
        let mut seen = Vec::new();
        while seen.len() < 60 {
            let last = seen.last().copied().unwrap_or(0);
            let next = timeline.list_since(last, 1000).await.expect("lists");
            seen.extend(next.into_iter().map(|entry| entry.id));
            tokio::task::yield_now().await;
        }
        seen
    };
    let (_, seen) = tokio::join!(join_all(writers), follower);
    assert!(seen.is_sorted());
    assert_eq!(seen.len(), 60, "a follower saw every entry exactly once");
}
