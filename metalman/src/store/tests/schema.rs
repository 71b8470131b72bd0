//! The schema itself: site view, refusals, opening.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{at, sqlite};
use crate::store::{Backend, BootLines, SiteObject, SiteVersion, Store, StoreError};

fn object(kind: &str, name: &str, version: &str) -> SiteObject {
    SiteObject {
        kind: kind.into(),
        namespace: String::new(),
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: version.into(),
        body: json!({"metadata": {"name": name}}).to_string(),
        boot: (kind == "Machine").then(|| format!("boot {name}")),
        updated_at: at(0),
    }
}

/// All lines for DHCP.
async fn boot_lines(store: &Store) -> (Vec<String>, BootLines) {
    let mut lines: Vec<String> = Vec::new();
    let take = |text: &str| lines.extend(text.lines().map(str::to_owned));
    let read = store.site_objects().boot_lines(take).await.expect("reads");
    lines.sort_unstable();
    (lines, read)
}

pub(super) async fn lines_for_dhcp_come_in_pieces(store: &Store) {
    let view = store.site_objects();
    // Pieces of 512: one more than two of them, then two whole ones.
    for count in [1025_usize, 1024] {
        let names: Vec<String> = (0..count).map(|index| format!("n{index:04}")).collect();
        let objects = names.iter().map(|name| object("Machine", name, "7"));
        let kept = view.versions("Machine").await.expect("lists");
        let gone = kept.keys().map(String::as_str);
        view.update("Machine", objects, gone)
            .await
            .expect("replaced");
        let (lines, read) = boot_lines(store).await;
        let expected: Vec<String> = names.iter().map(|name| format!("boot {name}")).collect();
        assert_eq!(lines, expected);
        let whole = BootLines {
            known: count,
            version: 7,
        };
        assert_eq!(read, whole);
    }
}

pub(super) async fn the_site_view_is_replaced_whole(store: &Store) {
    let view = store.site_objects();
    view.put(&object("Machine", "b", "1")).await.expect("put");
    view.put(&object("Machine", "b", "2")).await.expect("put");
    view.put(&object("Machine", "a", "3")).await.expect("put");
    view.put(&object("Secret", "s", "4")).await.expect("put");
    let machines = view.all("Machine").await.expect("lists");
    assert_eq!(
        machines,
        [object("Machine", "a", "3"), object("Machine", "b", "2")]
    );
    view.delete("Machine", "", "a").await.expect("deleted");
    view.delete("Machine", "", "a")
        .await
        .expect("deleting twice is fine");
    let versions = view.versions("Machine").await.expect("lists");
    assert_eq!(versions.len(), 1);
    assert_eq!(
        versions.get("b"),
        Some(&SiteVersion {
            name: "b".into(),
            uid: "uid-b".into(),
            resource_version: "2".into(),
        })
    );
    let changed = [object("Machine", "c", "5"), object("Machine", "d", "4")].into_iter();
    view.update("Machine", changed, ["b"])
        .await
        .expect("replaced");
    let whole = BootLines {
        known: 2,
        version: 5,
    };
    let lines = vec!["boot c".to_owned(), "boot d".to_owned()];
    assert_eq!(boot_lines(store).await, (lines, whole));
    // As it is after an upgrade from a version without lines.
    sqlx::query("DELETE FROM site_boot WHERE name = 'd'")
        .execute(store.pool())
        .await
        .expect("written behind the store's back");
    let (_, known) = boot_lines(store).await;
    assert_eq!(
        (known.known, view.machines().await.expect("counts")),
        (1, 2)
    );
    let versions = view.versions("Machine").await.expect("lists");
    assert_eq!(versions["d"].resource_version, "", "to be written again");
    view.delete("Machine", "", "d").await.expect("deleted");
    assert_eq!(boot_lines(store).await.0, ["boot c"]);
    assert_eq!(
        view.all("Machine").await.expect("lists"),
        [object("Machine", "c", "5")]
    );
    assert_eq!(view.all("Secret").await.expect("lists").len(), 1);
    assert!(!format!("{:?}", object("Secret", "s", "4")).contains("metadata"));
}

pub(super) async fn many_objects_are_replaced_at_once(store: &Store) {
    let names: Vec<String> = (0..150).map(|n| format!("n{n:03}")).collect();
    let view = store.site_objects();
    for version in ["1", "2"] {
        let changed = names.iter().map(|name| object("Machine", name, version));
        view.update("Machine", changed, []).await.expect("written");
        let kept = view.all("Machine").await.expect("lists");
        let expected: Vec<_> = names
            .iter()
            .map(|name| object("Machine", name, version))
            .collect();
        assert_eq!(kept, expected);
    }
}

pub(super) async fn an_impossible_row_is_named(store: &Store) {
    store
        .site_objects()
        .put(&object("Machine", "a", "1"))
        .await
        .expect("put");
    sqlx::query("UPDATE site_objects SET updated_at = 9223372036854775807")
        .execute(store.pool())
        .await
        .expect("written behind the store's back");
    let error = store
        .site_objects()
        .all("Machine")
        .await
        .expect_err("inconsistent");
    let StoreError::Inconsistent { table, column, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((*table, *column), ("site_objects", "updated_at"));
    assert!(!error.is_transient());
}

pub(super) async fn the_database_refuses_unknown_words(store: &Store) {
    for statement in [
        "INSERT INTO evidence (id, machine, at, kind, detail) VALUES (1, 'm', 0, 'Rumour', '{}')",
        "INSERT INTO timeline (id, machine, at, source, text, detail)
         VALUES (1, 'm', 0, 'gossip', '', '{}')",
        "INSERT INTO targets (operation_uid, machine, operation_name, kind, version, state,
             finished, created_at, updated_at) VALUES ('u', 'm', 'o', 'k', 1, '{}', 2, 0, 0)",
        "INSERT INTO outbox (id, operation_uid, machine, seq, action, state, starts, created_at)
         VALUES (1, 'no such target', 'm', 1, '{}', 'pending', 0, 0)",
        "INSERT INTO install_tokens (token, machine, operation_uid, attempt, image_digest,
             created_at, expires_at, consumed_at) VALUES ('t', 'm', 'u', 1, 'd', 0, 0, 0)",
    ] {
        let written = sqlx::query(statement).execute(store.pool()).await;
        assert!(written.is_err(), "accepted: {statement}");
    }
}

pub(super) async fn text_of_any_kind_round_trips(store: &Store) {
    let mut odd = object("Machine", "ü'\"; DROP TABLE site_objects; --", "1");
    odd.body = json!({"text": "line\nline\t\u{1F427}", "number": 18_446_744_073_709_551_615_u64,
                      "nested": [null, true, 1.5]})
    .to_string();
    store.site_objects().put(&odd).await.expect("put");
    assert_eq!(
        store.site_objects().all("Machine").await.expect("lists"),
        [odd]
    );
}

#[tokio::test]
async fn a_database_file_is_private_durable_and_survives() {
    let (store, folder) = sqlite().await;
    let path = folder.path().join("metalman.db");
    store
        .site_objects()
        .put(&object("Machine", "a", "1"))
        .await
        .expect("put");
    for file in ["metalman.db", "metalman.db-wal"] {
        let mode = std::fs::metadata(folder.path().join(file))
            .expect("exists")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
    }
    for (setting, wanted) in [
        ("PRAGMA synchronous", "2"),
        ("PRAGMA foreign_keys", "1"),
        ("PRAGMA busy_timeout", "10000"),
    ] {
        for connections in [store.pool(), store.writer()] {
            let value: i64 = sqlx::query_scalar(setting)
                .fetch_one(connections)
                .await
                .expect(setting);
            assert_eq!(value.to_string(), wanted, "{setting}");
        }
    }
    store.close().await;
    let again = Store::open(&format!("sqlite://{}", path.display()))
        .await
        .expect("opens again");
    assert_eq!(again.backend(), Backend::Sqlite);
    assert_eq!(
        again
            .site_objects()
            .all("Machine")
            .await
            .expect("lists")
            .len(),
        1
    );
    again.ping().await.expect("answers");
}

#[tokio::test]
async fn a_path_with_odd_characters_works() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a b#c%41.db");
    let url = format!("sqlite:{}", path.display());
    let store = Store::open(&url).await.expect("opens");
    store.ping().await.expect("answers");
    assert_eq!(
        std::fs::read_dir(folder.path())
            .expect("lists")
            .flatten()
            .filter(|file| file.path() == path)
            .count(),
        1
    );
}

#[tokio::test]
async fn a_database_in_memory_is_one_database() {
    let store = Store::open("sqlite::memory:").await.expect("opens");
    store
        .site_objects()
        .put(&object("Machine", "a", "1"))
        .await
        .expect("put");
    assert_eq!(
        store
            .site_objects()
            .all("Machine")
            .await
            .expect("lists")
            .len(),
        1
    );
}

#[tokio::test]
async fn an_unusable_address_is_named_without_its_password() {
    for (url, reason) in [
        ("mysql://root:s3cret@x/y", "DatabaseAddressInvalid"),
        ("sqlite:", "DatabaseAddressInvalid"),
        ("sqlite:/no/such/folder/x.db", "DatabaseFileUnusable"),
    ] {
        let error = Store::open(url).await.expect_err("unusable");
        assert_eq!(error.reason(), reason, "{url}");
        assert!(!format!("{error}").contains("s3cret"));
    }
}

#[tokio::test]
async fn two_programs_may_open_one_file_at_once() {
    let (store, folder) = sqlite().await;
    let url = format!("sqlite:{}", folder.path().join("metalman.db").display());
    let (a, b) = tokio::join!(Store::open(&url), Store::open(&url));
    a.expect("opens").ping().await.expect("answers");
    b.expect("opens").ping().await.expect("answers");
    store.ping().await.expect("answers");
}
