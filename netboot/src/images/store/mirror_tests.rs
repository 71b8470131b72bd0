//! Mirrors that give something else than what was asked for.

use super::registry_tests::{files, files_with};
use super::remote_tests::{from_files, obtain, options, serve};
use super::tests::{gzip, tar};
use super::*;

#[tokio::test]
async fn mirrors_that_give_other_bytes_are_left_whichever_bytes_those_are() {
    let dir = tempfile::tempdir().unwrap();
    let good = Arc::new(files().await);
    for part in ["/blobs/", "/manifests/sha256:"] {
        let known = Arc::clone(&good);
        let (origin, _, _origin) = serve(move |request| from_files(&known, request)).await;
        let mut wrong = (*good).clone();
        for (_, bytes) in wrong.iter_mut().filter(|(path, _)| path.contains(part)) {
            bytes.push(b' ');
        }
        let wrong = Arc::new(wrong);
        let (first, second) = (Arc::clone(&wrong), Arc::clone(&wrong));
        let (first, first_log, _first) = serve(move |r| from_files(&first, r)).await;
        let (second, second_log, _second) = serve(move |r| from_files(&second, r)).await;
        let mut options = options(&[&origin, &first, &second]);
        options.mirrors = vec![
            format!("{origin}={first}").parse().unwrap(),
            format!("{origin}={second}").parse().unwrap(),
        ];
        let place = part.replace(['/', ':'], "");
        let store = ImageStore::open(&dir.path().join(&place), options).unwrap();
        let name = format!("{origin}/site/boot:v1");
        assert_eq!(
            obtain(&store, &name, None).await.unwrap(),
            "amd64",
            "{part}"
        );
        for log in [first_log, second_log] {
            let log = log.lock().unwrap();
            let wrong = log.iter().filter(|line| line.contains(part)).count();
            assert!((1..=2).contains(&wrong), "left after the first: {log:?}");
        }
        let rest: Vec<_> = std::fs::read_dir(dir.path().join(&place).join("oci"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(".tmp-"))
            .collect();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_gives_too_much_or_too_little_is_left_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    // A layer that does not get small, so that the others are not cut by their length.
    let noise = |_: &str| {
        let digests = (0..256_u16).map(|n| super::super::digest::digest_of(&n.to_le_bytes()));
        digests.collect::<String>().into_bytes()
    };
    let good = Arc::new(files_with(noise).await);
    let zeros = vec![0; 1 << 20];
    let large = gzip(&tar(&[("disk/name", zeros.as_slice())]).await);
    let names: Vec<String> = (0..40).map(|n| format!("disk/{n}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b""[..])).collect();
    let many = gzip(&tar(&many).await);
    let endless = vec![b' '; 5 << 20];
    for (what, part, given) in [
        ("large", "/blobs/", large),
        ("many", "/blobs/", many),
        ("short", "/blobs/", Vec::new()),
        ("endless", "/manifests/sha256:", endless),
    ] {
        let known = Arc::clone(&good);
        let (origin, _, _origin) = serve(move |request| from_files(&known, request)).await;
        let mut wrong = (*good).clone();
        for (_, bytes) in wrong.iter_mut().filter(|(path, _)| path.contains(part)) {
            // The configuration is right: it is read first.
            if bytes.len() > 2 {
                let announced = bytes.len();
                match what {
                    "short" => bytes.truncate(announced / 2),
                    _ => bytes.clone_from(&given),
                }
                if matches!(what, "large" | "many") {
                    assert!(given.len() < announced);
                    bytes.resize(announced, 0);
                }
            }
        }
        let (mirror, mirror_log, _mirror) = serve(move |r| from_files(&wrong, r)).await;
        let mut options = options(&[&origin, &mirror]);
        options.mirrors = vec![format!("{origin}={mirror}").parse().unwrap()];
        (options.max_unpacked_bytes, options.max_entries) = (64 << 10, 10);
        let store = ImageStore::open(&dir.path().join(what), options).unwrap();
        let found = obtain(&store, &format!("{origin}/site/boot:v1"), None).await;
        assert_eq!(found.unwrap().into_bytes(), noise("amd64"), "{what}");
        assert!(mirror_log.lock().unwrap().join("").contains(part), "{what}");
    }
}
