//! Operation journal and outbox.

use serde_json::json;

use super::at;
use crate::store::{
    ActionOutcome, ActionState, CommitTarget, FinishedAction, HistoryEntry, NewAction,
    NewTimelineEntry, NewToken, Store, StoreError, TimelineSource, TokenChange,
};

pub(super) fn step(machine: &str, expected_version: i64) -> CommitTarget {
    CommitTarget {
        operation_uid: "uid-1".into(),
        operation_name: "replace-1".into(),
        machine: machine.into(),
        kind: "HostReplace".into(),
        expected_version,
        state: json!({"stage": "Preparing", "attempt": 1}),
        finished: false,
        now: at(expected_version),
        history: vec![],
        finished_actions: vec![],
        outbox: vec![],
        timeline: vec![],
        tokens: vec![],
    }
}

fn action(verb: &str) -> NewAction {
    NewAction {
        action: json!({"do": verb}),
    }
}

/// The first step of `node-1`, with something for every table.
fn first_step() -> CommitTarget {
    CommitTarget {
        history: vec![HistoryEntry {
            at: at(0),
            from: "None".into(),
            to: "Preparing".into(),
            reason: "operation accepted".into(),
        }],
        outbox: vec![action("fetch"), action("power-off")],
        timeline: vec![NewTimelineEntry {
            machine: "node-1".into(),
            at: at(0),
            source: TimelineSource::Operation,
            text: "HostReplace began".into(),
            detail: json!({}),
            operation: Some("replace-1".into()),
        }],
        tokens: vec![TokenChange::Mint(NewToken {
            token: "t-1".into(),
            machine: "node-1".into(),
            operation_uid: "uid-1".into(),
            attempt: 1,
            image_digest: "sha256:aa".into(),
            expires_at: at(1000),
        })],
        ..step("node-1", 0)
    }
}

pub(super) async fn a_step_is_written_whole_and_read_back(store: &Store) {
    let commit = first_step();
    let written = store.targets().commit(commit.clone()).await;
    let written = written.expect("committed");
    assert_eq!((written.version, written.actions.len()), (1, 2));

    let target = store
        .targets()
        .load("uid-1", "node-1")
        .await
        .expect("loads")
        .expect("is there");
    assert_eq!(target.version, 1);
    assert_eq!(target.state, commit.state);
    assert_eq!(target.created_at, at(0));
    assert_eq!(
        store.targets().unfinished().await.expect("lists"),
        std::slice::from_ref(&target)
    );
    assert_eq!(
        store.targets().of_operation("uid-1").await.expect("lists"),
        [target]
    );
    let history = store
        .targets()
        .history("uid-1", "node-1")
        .await
        .expect("lists");
    assert_eq!(history, commit.history);
    assert_eq!(store.outbox().running().await.expect("lists").len(), 2);
    assert_eq!(
        store
            .timeline()
            .list("node-1", None, 10)
            .await
            .expect("lists")
            .len(),
        1
    );
    assert_eq!(
        store
            .install_tokens()
            .live(at(1))
            .await
            .expect("lists")
            .len(),
        1
    );

    let finished = CommitTarget {
        finished: true,
        now: at(9),
        ..step("node-1", 1)
    };
    let written = store.targets().commit(finished).await.expect("committed");
    assert_eq!((written.version, written.actions), (2, vec![]));
    assert_eq!(store.targets().unfinished().await.expect("lists"), []);
    let target = store
        .targets()
        .load("uid-1", "node-1")
        .await
        .expect("loads")
        .expect("is there");
    assert_eq!(
        (target.created_at, target.updated_at, target.finished),
        (at(0), at(9), true)
    );
}

pub(super) async fn a_stale_step_writes_nothing(store: &Store) {
    store
        .targets()
        .commit(step("node-1", 0))
        .await
        .expect("created");
    for expected_version in [0, 7] {
        let stale = CommitTarget {
            outbox: vec![action("power-off")],
            ..step("node-1", expected_version)
        };
        let error = store.targets().commit(stale).await.expect_err("stale");
        assert!(matches!(error, StoreError::Stale { .. }), "{error:?}");
    }
    assert_eq!(store.outbox().running().await.expect("lists"), []);
    let target = store
        .targets()
        .load("uid-1", "node-1")
        .await
        .expect("loads")
        .expect("is there");
    assert_eq!(target.version, 1);
    assert_eq!(
        store
            .targets()
            .load("uid-1", "node-2")
            .await
            .expect("loads"),
        None
    );
}

pub(super) async fn of_two_steps_from_one_version_one_wins(store: &Store) {
    store
        .targets()
        .commit(step("node-1", 0))
        .await
        .expect("created");
    let contender = CommitTarget {
        outbox: vec![action("power-off")],
        ..step("node-1", 1)
    };
    let targets = store.targets();
    let (one, other) = tokio::join!(targets.commit(contender.clone()), targets.commit(contender));
    assert_eq!(
        [one.is_ok(), other.is_ok()]
            .into_iter()
            .filter(|won| *won)
            .count(),
        1
    );
    assert_eq!(store.outbox().running().await.expect("lists").len(), 1);
}

pub(super) async fn an_action_ends_once(store: &Store) {
    let commit = CommitTarget {
        outbox: vec![action("power-off")],
        ..step("node-1", 0)
    };
    store.targets().commit(commit).await.expect("created");
    let outbox = store.outbox();
    let [running] = outbox
        .running()
        .await
        .expect("lists")
        .try_into()
        .expect("one action");
    assert_eq!(
        (running.seq, running.starts, running.started_at),
        (1, 1, Some(at(0)))
    );

    let finished = FinishedAction {
        id: running.id,
        outcome: ActionOutcome::Failed,
        result: json!({"reason": "BmcUnreachable"}),
    };
    let commit = CommitTarget {
        finished_actions: vec![finished.clone()],
        ..step("node-1", 1)
    };
    store
        .targets()
        .commit(commit)
        .await
        .expect("takes the result in");
    let error = outbox
        .finish(&finished, at(9))
        .await
        .expect_err("ended before");
    assert!(matches!(error, StoreError::ActionState { .. }), "{error:?}");
    let [ended] = outbox
        .of_target("uid-1", "node-1")
        .await
        .expect("lists")
        .try_into()
        .expect("1");
    assert_eq!(
        (ended.state, ended.finished_at),
        (ActionState::Failed, Some(at(1)))
    );
    assert_eq!(ended.result, Some(json!({"reason": "BmcUnreachable"})));
}

pub(super) async fn seq_counts_up_within_a_target(store: &Store) {
    for machine in ["node-1", "node-2"] {
        for version in 0..2 {
            let outbox = vec![action("a"), action("b")];
            let commit = CommitTarget {
                outbox,
                ..step(machine, version)
            };
            store.targets().commit(commit).await.expect("committed");
        }
        let actions = store
            .outbox()
            .of_target("uid-1", machine)
            .await
            .expect("lists");
        assert_eq!(
            actions.iter().map(|a| a.seq).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        assert!(actions.is_sorted_by_key(|a| a.id));
    }
    let steps = (0..2).map(|version| CommitTarget {
        outbox: vec![action("a"), action("b")],
        ..step("node-3", version)
    });
    let written = store.targets().commit_all(steps.collect()).await;
    let ids: Vec<i64> = written
        .expect("two steps at once")
        .into_iter()
        .flat_map(|committed| committed.actions)
        .collect();
    let actions = store.outbox().of_target("uid-1", "node-3").await;
    let numbered: Vec<(i64, i64)> = actions
        .expect("lists")
        .iter()
        .map(|a| (a.seq, a.id))
        .collect();
    let expected: Vec<(i64, i64)> = (1..).zip(ids).collect();
    assert_eq!((numbered.len(), numbered), (4, expected));
}

pub(super) async fn deleting_an_operation_takes_its_actions(store: &Store) {
    let commit = CommitTarget {
        outbox: vec![action("power-off")],
        ..step("node-1", 0)
    };
    store.targets().commit(commit).await.expect("created");
    store
        .targets()
        .delete_operation("uid-1")
        .await
        .expect("deleted");
    assert_eq!(store.outbox().running().await.expect("lists"), []);
    assert_eq!(store.targets().unfinished().await.expect("lists"), []);
}

pub(super) async fn steps_of_many_are_written_together_and_fail_alone(store: &Store) {
    let targets = store.targets();
    let machines: Vec<String> = (0..300).map(|i| format!("node-{i}")).collect();
    let steps = machines.iter().enumerate().map(|(i, machine)| {
        // Every third one is stale.
        targets.commit(step(machine, if i % 3 == 0 { 5 } else { 0 }))
    });
    let written = futures::future::join_all(steps).await;
    for (i, written) in written.iter().enumerate() {
        assert_eq!(written.is_err(), i % 3 == 0, "{i}: {written:?}");
    }
    assert_eq!(targets.unfinished().await.expect("lists").len(), 200);
}

pub(super) async fn steps_of_one_call_are_all_written_or_none(store: &Store) {
    let targets = store.targets();
    let both = vec![step("node-1", 0), step("node-2", 3)];
    let error = targets.commit_all(both).await.expect_err("one is stale");
    assert!(matches!(error, StoreError::Stale { .. }), "{error:?}");
    assert_eq!(targets.unfinished().await.expect("lists"), []);
    let both = vec![step("node-1", 0), step("node-2", 0)];
    assert_eq!(targets.commit_all(both).await.expect("written").len(), 2);
}
