//! The kept corpus and random bytes through every oracle.

use std::{fs, path::Path};

use proptest::prelude::*;

/// Runs every kept input of a target; there must be some.
fn replay(target: &str, oracle: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    let mut inputs = 0;
    for entry in fs::read_dir(folder.join(target)).expect("the corpus is in the repository") {
        let path = entry.expect("lists").path();
        let bytes = fs::read(&path).expect("reads");
        // Printed when the test fails.
        println!("{}", path.display());
        oracle(&bytes);
        inputs += 1;
    }
    assert!(inputs > 10, "{inputs} inputs of {target}");
}

macro_rules! replayed {
    ($($target:ident)*) => { $(
        mod $target {
            use super::*;

            #[test]
            fn the_kept_corpus_holds() {
                replay(stringify!($target), crate::fuzzing::$target);
            }

            proptest! {
                #[test]
                fn random_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
                    crate::fuzzing::$target(&bytes);
                }
            }
        }
    )* };
}

replayed!(dhcp tftp http images template);
