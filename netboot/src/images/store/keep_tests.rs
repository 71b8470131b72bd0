//! What stays in the cache and what goes; which images a site that wants signatures takes.

use std::collections::HashSet;

use serde_json::json;

use super::tests::LayoutDir;
use super::*;
use crate::images::signature::tests::Signer;

const MIB: u64 = 1 << 20;

async fn layout(content: &str) -> LayoutDir {
    let layout = LayoutDir::new();
    let bytes = content.repeat(1 << 20);
    let entry = layout.image(&[("disk/name", bytes.as_bytes())], None).await;
    layout.index(&[entry]);
    layout
}

async fn obtain(store: &ImageStore, layout: &LayoutDir) -> Result<String, ImageError> {
    let reference = layout.reference("");
    store
        .obtain(
            &reference,
            Architecture::Amd64,
            None,
            ProgressSink::silent(),
        )
        .await
        .map(|image| image.digest.clone())
}

fn open(cache: &Path, mib: u64) -> ImageStore {
    let options = ImageStoreOptions {
        cache_size: Some(mib * MIB),
        ..ImageStoreOptions::default()
    };
    ImageStore::open(cache, options).unwrap()
}

async fn collect(store: &ImageStore, round: CollectionRound, needed: &[&String]) -> Vec<String> {
    let needed: HashSet<String> = needed.iter().map(|&digest| digest.clone()).collect();
    let goal = CollectionGoal::Limit;
    store.collect(round, needed, goal).await.unwrap().removed
}

#[tokio::test]
async fn the_longest_unused_image_goes_first_also_after_a_restart() {
    let cache = tempfile::tempdir().unwrap();
    let (a, b, c) = (layout("a").await, layout("b").await, layout("c").await);
    let store = open(cache.path(), 10);
    let a = obtain(&store, &a).await.unwrap();
    let b = obtain(&store, &b).await.unwrap();
    let c = obtain(&store, &c).await.unwrap();
    drop(store.get(&a));
    assert!(
        collect(&store, store.begin_collection(), &[])
            .await
            .is_empty()
    );
    drop(store);
    let store = open(cache.path(), 2);
    let removed = collect(&store, store.begin_collection(), &[]).await;
    assert_eq!(removed, [b.clone(), c.clone()], "a was used last");
    assert!(store.get(&a).is_some() && store.get(&b).is_none());
    drop(store);
    let store = open(cache.path(), 2);
    assert!(
        store.get(&a).is_some() && store.get(&c).is_none(),
        "gone from the disk"
    );
}

#[tokio::test]
async fn what_is_needed_held_or_used_meanwhile_is_never_removed() {
    let cache = tempfile::tempdir().unwrap();
    let layouts = [
        layout("a").await,
        layout("b").await,
        layout("c").await,
        layout("d").await,
    ];
    let store = open(cache.path(), 1);
    let mut digests = Vec::new();
    for layout in &layouts {
        digests.push(obtain(&store, layout).await.unwrap());
    }
    let [needed, held, used, idle] = <[String; 4]>::try_from(digests).unwrap();
    let holder = store.get(&held).unwrap();
    let round = store.begin_collection();
    drop(store.get(&used));
    let removed = collect(&store, round, &[&needed]).await;
    assert_eq!(removed, [idle]);
    assert!(holder.root.join("name").exists());
    let everything = store
        .collect(
            store.begin_collection(),
            HashSet::new(),
            CollectionGoal::Everything,
        )
        .await
        .unwrap();
    assert_eq!(everything.removed.len(), 2, "all but the one that is held");
    assert!(
        everything.over_limit,
        "it is larger than the limit by its record"
    );
    assert!(holder.root.join("name").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collections_beside_operations_never_take_an_image_away() {
    let cache = tempfile::tempdir().unwrap();
    let store = open(cache.path(), 1);
    let layouts = Arc::new([layout("a").await, layout("b").await, layout("c").await]);
    let stop = CancellationToken::new();
    let (collector, stopped) = (store.clone(), stop.clone());
    let collecting = async move {
        let mut removed = 0;
        while !stopped.is_cancelled() {
            let round = collector.begin_collection();
            removed += collect(&collector, round, &[]).await.len();
        }
        removed
    };
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..3_usize {
        let (store, layouts) = (store.clone(), Arc::clone(&layouts));
        tasks.spawn(async move {
            for turn in 0..8 {
                let reference = layouts[(worker + turn) % 3].reference("");
                let image = store
                    .obtain(
                        &reference,
                        Architecture::Amd64,
                        None,
                        ProgressSink::silent(),
                    )
                    .await
                    .unwrap();
                let content = tokio::fs::read(image.root.join("name")).await.unwrap();
                assert_eq!(content.len() as u64, MIB);
            }
        });
    }
    let operations = async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        stop.cancel();
    };
    let (removed, ()) = tokio::join!(collecting, operations);
    assert!(removed > 0, "something had to go");
}

/// Adds a signature of `digest`, tagged for `tagged`, to the index of a layout.
fn sign(layout: &LayoutDir, signer: &Signer, digest: &str, tagged: &str) {
    let (payload, layer) = signer.sign(digest);
    layout.blob(&payload);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "layers": [layer]}).to_string();
    let mut index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.path().join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    entries.push(
        json!({"mediaType": kind, "digest": layout.blob(manifest.as_bytes()),
        "size": manifest.len(), "annotations": {
            "org.opencontainers.image.ref.name": format!("{}.sig", tagged.replace(':', "-"))}}),
    );
    std::fs::write(layout.path().join("index.json"), index.to_string()).unwrap();
}

#[tokio::test]
async fn a_site_with_a_key_takes_only_what_is_signed_with_it() {
    let cache = tempfile::tempdir().unwrap();
    let signer = Signer::new();
    let strict = |signer: &Signer| {
        let options = ImageStoreOptions {
            cosign_key: Some(signer.key()),
            ..ImageStoreOptions::default()
        };
        ImageStore::open(cache.path(), options).unwrap()
    };
    let image = layout("s").await;
    // Fetched while nothing was required.
    let digest = obtain(&open(cache.path(), 100), &image).await.unwrap();
    let store = strict(&signer);
    assert!(store.get(&digest).is_none(), "nobody has checked it yet");
    let refused = |outcome: Result<String, ImageError>| {
        let error = outcome.unwrap_err();
        assert_eq!(error.reason(), "ImageSignatureRefused", "{error}");
        error.to_string()
    };
    assert!(refused(obtain(&store, &image).await).contains("no cosign signature"));
    sign(&image, &Signer::new(), &digest, &digest);
    assert!(refused(obtain(&store, &image).await).contains("none of its 1"));
    // The right key, but for another image.
    let other = crate::images::digest::digest_of(b"other");
    sign(&image, &signer, &other, &digest);
    assert!(refused(obtain(&store, &image).await).contains("none of its 2"));
    assert!(store.get(&digest).is_none());
    sign(&image, &signer, &digest, &digest);
    assert_eq!(obtain(&store, &image).await.unwrap(), digest);
    drop(store);
    let store = strict(&signer);
    assert!(store.get(&digest).is_some(), "the check is remembered");
    drop(store);
    assert!(
        strict(&Signer::new()).get(&digest).is_none(),
        "for that key only"
    );
}

#[tokio::test]
async fn a_signature_of_the_index_is_one_of_its_images() {
    let cache = tempfile::tempdir().unwrap();
    let signer = Signer::new();
    let options = ImageStoreOptions {
        cosign_key: Some(signer.key()),
        ..ImageStoreOptions::default()
    };
    let store = ImageStore::open(cache.path(), options).unwrap();
    let layout = LayoutDir::new();
    let amd = layout.image(&[("disk/name", b"amd")], Some("amd64")).await;
    let arm = layout.image(&[("disk/name", b"arm")], Some("arm64")).await;
    let both = json!({"schemaVersion": 2, "manifests": [amd, arm]}).to_string();
    let digest = layout.blob(both.as_bytes());
    layout.index(&[
        json!({"mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": digest, "size": both.len()}),
    ]);
    sign(&layout, &signer, &digest, &digest);
    let reference = layout.reference(&format!("@{digest}"));
    for architecture in [Architecture::Amd64, Architecture::Arm64] {
        let outcome = store
            .obtain(&reference, architecture, None, ProgressSink::silent())
            .await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}
