use std::path::Path;

use jiff::ToSpan as _;
use netboot::images::ImageStoreOptions;

use super::*;
use crate::store::NewToken;

/// No build takes so long.
const MARK: SignedDuration = SignedDuration::from_nanos(-1);

struct Scene {
    folder: tempfile::TempDir,
    view: BootView,
    now: Timestamp,
}

fn machine(last: u8) -> Machine {
    serde_json::from_value(json!({
        "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
        "metadata": { "name": format!("n{last}"), "uid": "u" },
        "spec": { "pxe": { "dhcpLeases": [{
            "mac": format!("52:54:00:00:00:{last:02x}"), "ipv4": format!("10.0.0.{last}"),
            "subnetMask": "255.255.255.0" }] } },
    }))
    .unwrap()
}

fn view(folder: &Path, store: Store) -> BootView {
    BootView {
        site: Arc::new(Site::new("")),
        store,
        images: ImageStore::open(folder, ImageStoreOptions::default()).unwrap(),
        default_netboot_image: Some("registry.example/netboot:1".into()),
        serve_url: "http://10.0.0.250".into(),
        cache: BootCache::default(),
        boot_url: "http://10.0.0.250".into(),
    }
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite::memory:").await.unwrap();
        let scene = Self {
            view: view(folder.path(), store),
            folder,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        scene.view.site.apply_machine(&machine(1));
        scene.view.rebuild(scene.now).await.unwrap();
        scene
    }

    /// Whether a second later, after these changes, there was something to build.
    async fn builds(&mut self, changed: &Changed) -> bool {
        self.now += 1.second();
        // A build takes over what is in the cache, machine by machine.
        let mark = || {
            let mut cache = self.view.cache.lock();
            std::mem::replace(&mut cache.took, MARK)
        };
        let took = mark();
        assert!(self.view.refresh(changed, self.now).await.unwrap());
        let mut cache = self.view.cache.lock();
        let has_built = cache.took != MARK;
        if !has_built {
            cache.took = took;
        }
        assert_eq!(cache.built_at, Some(self.now));
        has_built
    }
}

#[tokio::test]
async fn a_site_at_rest_is_not_built_anew() {
    let mut scene = Scene::new().await;
    let nothing = Changed::default();
    assert!(!scene.builds(&nothing).await);
    assert!(!scene.builds(&nothing).await);

    scene.view.site.apply_machine(&machine(2));
    let changed = Changed {
        objects: true,
        ..Changed::default()
    };
    assert!(scene.builds(&changed).await);
    assert_eq!(scene.view.site.boot_snapshot().machines().len(), 2);
    assert!(!scene.builds(&nothing).await);
}

#[tokio::test]
async fn a_token_that_comes_and_ends_by_time_is_noticed() {
    let mut scene = Scene::new().await;
    let token = NewToken {
        token: "t".into(),
        machine: "n1".into(),
        operation_uid: "o".into(),
        attempt: 1,
        image_digest: "sha256:1".into(),
        expires_at: scene.now + 3.seconds(),
    };
    let tokens = scene.view.store.install_tokens();
    tokens.mint(&token, scene.now).await.unwrap();
    let nothing = Changed::default();
    let mut built = Vec::new();
    for _ in 0..4 {
        built.push(scene.builds(&nothing).await);
    }
    assert_eq!(built, [true, false, true, false]);
    drop(scene.folder);
}
