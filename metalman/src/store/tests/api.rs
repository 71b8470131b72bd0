//! The tables of the embedded API: batches of changes, written in few statements.

use std::sync::Arc;

use serde_json::json;

use super::at;
use crate::standalone::hub::{Change, ChangeKind, Key, News, Packers, Stored};
use crate::standalone::resource::Catalog;
use crate::standalone::storage::{Storage, StorageError};
use crate::store::Store;

fn storage(store: &Store) -> (Storage, Packers, usize) {
    let catalog = Catalog::new(&metalman_api::crd::all()).expect("our own resources");
    let slot = catalog.stored("", "configmaps").expect("served").slot;
    let packers = Packers::new(catalog.slots());
    (
        Storage::new(store.clone(), Arc::new(catalog)),
        packers,
        slot,
    )
}

fn news(packers: &Packers, slot: usize, version: u64, kind: ChangeKind, name: &str) -> News {
    let text = json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "v": version});
    let text = text.to_string();
    let object = Arc::new(Stored {
        key: Key {
            slot,
            namespace: "default".into(),
            name: name.into(),
        },
        version,
        written_at: at(0),
        body: packers.pack(slot, &text),
    });
    let change = Change {
        version,
        kind,
        object,
        previous: None,
    };
    let uid = format!("uid-{name}");
    News::new(Arc::new(change), text.into(), &uid)
}

pub(super) async fn changes_of_one_commit_are_all_logged_and_the_last_one_counts(store: &Store) {
    use ChangeKind::{Added, Deleted, Modified};
    let (storage, packers, slot) = storage(store);
    let news = |version, kind, name: &str| news(&packers, slot, version, kind, name);
    let first = [
        news(2, Added, "stays"),
        news(3, Modified, "stays"),
        news(4, Added, "goes"),
        news(5, Deleted, "goes"),
        news(6, Added, "comes-back"),
        news(7, Deleted, "comes-back"),
        news(8, Added, "comes-back"),
    ];
    storage.commit(1, 8, None, &first).await.expect("written");
    let many: Vec<News> = (9..109)
        .map(|version| news(version, Added, &format!("many-{version}")))
        .collect();
    storage.commit(8, 108, None, &many).await.expect("written");
    let last = [news(109, Deleted, "stays")];
    storage
        .commit(108, 109, Some(3), &last)
        .await
        .expect("written");

    let loaded = storage.load(&packers).await.expect("reads");
    assert_eq!((loaded.version, loaded.compacted), (109, 3));
    let mut live: Vec<(String, u64)> = loaded
        .objects
        .iter()
        .map(|object| (object.key.name.clone(), object.version))
        .collect();
    live.sort_by_key(|(_, version)| *version);
    assert_eq!(live.len(), 101);
    assert_eq!(live.first(), Some(&("comes-back".to_owned(), 8)));
    let versions: Vec<u64> = loaded.changes.iter().map(|change| change.version).collect();
    assert_eq!(versions, (4..=109).collect::<Vec<u64>>());
    let bodies = loaded.objects.iter().all(|object| {
        let value = object.value();
        value["v"] == object.version && value["metadata"]["name"] == object.key.name.as_str()
    });
    assert!(bodies, "every object has its own text");
}

pub(super) async fn a_commit_from_another_version_writes_nothing(store: &Store) {
    let (storage, packers, slot) = storage(store);
    let change = [news(&packers, slot, 5, ChangeKind::Added, "a")];
    let refused = storage.commit(4, 5, None, &change).await;
    assert!(
        matches!(
            refused,
            Err(StorageError::NotAlone {
                found: 1,
                expected: 4
            })
        ),
        "{refused:?}"
    );
    let loaded = storage.load(&packers).await.expect("reads");
    assert!(loaded.objects.is_empty() && loaded.changes.is_empty());
    // The connection is free for the next.
    let change = [news(&packers, slot, 2, ChangeKind::Added, "a")];
    storage.commit(1, 2, None, &change).await.expect("written");
}
