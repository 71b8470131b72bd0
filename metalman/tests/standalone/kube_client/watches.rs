//! Watches and versions, also over a restart.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};

use super::{error_code, machine, machines, refusal};
use crate::harness::Running;

#[tokio::test]
async fn watches_see_every_change_in_order() {
    let running = Running::start().await;
    let api = machines(&running.client().await);
    api.create(&PostParams::default(), &machine("early"))
        .await
        .unwrap();
    let list = api.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    api.create(&PostParams::default(), &machine("a"))
        .await
        .unwrap();
    let params = WatchParams::default().labels("watched=yes").timeout(20);
    let mut selected = api.watch(&params, &version).await.unwrap().boxed();
    let mut all = api
        .watch(&WatchParams::default().timeout(20), &version)
        .await
        .unwrap()
        .boxed();
    let label = |value: Value| Patch::Merge(json!({"metadata": {"labels": {"watched": value}}}));
    for value in [json!("yes"), json!("no"), json!("yes")] {
        api.patch("a", &PatchParams::default(), &label(value))
            .await
            .unwrap();
    }
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let word = |event: WatchEvent<DynamicObject>| match event {
        WatchEvent::Added(_) => "added",
        WatchEvent::Modified(_) => "modified",
        WatchEvent::Deleted(_) => "deleted",
        WatchEvent::Bookmark(_) => "bookmark",
        WatchEvent::Error(_) => "error",
    };
    let mut words = Vec::new();
    for _ in 0..4 {
        words.push(word(selected.try_next().await.unwrap().unwrap()));
    }
    assert_eq!(words, ["added", "deleted", "added", "deleted"]);
    words.clear();
    for _ in 0..5 {
        words.push(word(all.try_next().await.unwrap().unwrap()));
    }
    assert_eq!(
        words,
        ["added", "modified", "modified", "modified", "deleted"]
    );
    running.stop().await;
}

#[tokio::test]
async fn kube_watchers_work_in_both_modes() {
    let running = Running::start().await;
    let client = running.client().await;
    let api = machines(&client);
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &machine(name))
            .await
            .unwrap();
    }
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let stream = watcher(api.clone(), config).applied_objects().take(3);
        let seen = tokio::time::timeout(Duration::from_secs(20), stream.try_collect::<Vec<_>>());
        let names: Vec<String> = seen
            .await
            .unwrap()
            .unwrap()
            .iter()
            .map(kube::ResourceExt::name_any)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
    let config_maps: Api<ConfigMap> = Api::all(client);
    let stream = watcher(config_maps, watcher::Config::default().streaming_lists()).take(2);
    let events = tokio::time::timeout(Duration::from_secs(20), stream.try_collect::<Vec<_>>());
    assert_eq!(events.await.unwrap().unwrap().len(), 2, "Init and InitDone");
    running.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_objects_versions_and_watches() {
    survives_a_restart(Running::start().await).await;
}

#[tokio::test]
async fn a_restart_on_postgres_keeps_objects_versions_and_watches() {
    if let Some(running) = Running::start_on_postgres().await {
        survives_a_restart(running).await;
    }
}

async fn survives_a_restart(running: Running) {
    let api = machines(&running.client().await);
    let first = api
        .create(&PostParams::default(), &machine("a"))
        .await
        .unwrap();
    let second = api
        .create(&PostParams::default(), &machine("b"))
        .await
        .unwrap();
    let running = running.restart().await;
    let api = machines(&running.client().await);
    let kept = api.get("a").await.unwrap();
    assert_eq!(kept, first);
    let params = WatchParams::default().timeout(20);
    let version = first.resource_version().unwrap();
    let mut stream = api.watch(&params, &version).await.unwrap().boxed();
    let event = stream.try_next().await.unwrap().unwrap();
    assert!(
        matches!(event, WatchEvent::Added(ref o) if o.name_any() == "b"),
        "{event:?}"
    );
    let third = api
        .create(&PostParams::default(), &machine("c"))
        .await
        .unwrap();
    let number = |o: &DynamicObject| o.resource_version().unwrap().parse::<u64>().unwrap();
    assert!(number(&third) > number(&second));
    running.stop().await;
}

#[tokio::test]
async fn versions_that_are_not_kept_are_gone() {
    let running = Running::start().await;
    let client = running.client().await;
    let api = machines(&client);
    for version in ["0999999999", "18446744073709551615"] {
        let stream = api.watch(&WatchParams::default().timeout(5), version).await;
        let gone = match stream {
            Err(error) => refusal(error).0,
            Ok(stream) => error_code(stream.boxed().try_next().await.unwrap().unwrap()),
        };
        assert_eq!(gone, 410);
    }
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"n": "0"}})).unwrap();
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    let old = made.resource_version().unwrap();
    futures::stream::iter(0..5300_u32)
        .map(|n| {
            let maps = maps.clone();
            async move {
                let patch = Patch::Merge(json!({"data": {"n": n.to_string()}}));
                maps.patch("m", &PatchParams::default(), &patch)
                    .await
                    .unwrap();
            }
        })
        .buffer_unordered(64)
        .collect::<()>()
        .await;
    let gone = maps.watch(&WatchParams::default().timeout(5), &old).await;
    let code = match gone {
        Err(error) => refusal(error).0,
        Ok(stream) => error_code(stream.boxed().try_next().await.unwrap().unwrap()),
    };
    assert_eq!(code, 410);
    running.stop().await;
}
