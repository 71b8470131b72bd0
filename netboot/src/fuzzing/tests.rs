//! The kept corpus, changes of it, and random bytes through every oracle.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use proptest::prelude::*;

/// The kept inputs of a target; there must be some.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    let entries = fs::read_dir(folder.join(target)).expect("the corpus is in the repository");
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("lists").path();
            let bytes = fs::read(&path).expect("reads");
            (path.display().to_string(), bytes)
        })
        .collect();
    inputs.sort();
    assert!(inputs.len() > 10, "{} inputs of {target}", inputs.len());
    inputs
}

fn replay(target: &str, oracle: fn(&[u8])) {
    for (name, bytes) in corpus(target) {
        // Printed when the test fails.
        println!("{name}");
        oracle(&bytes);
    }
}

/// Changes kept inputs at random, for a second or METALMAN_FUZZ_SECONDS. A finding is printed in
/// hexadecimal.
fn mutate(target: &str, oracle: fn(&[u8])) {
    let asked = std::env::vars().find(|(name, _)| name == "METALMAN_FUZZ_SECONDS");
    let seconds = asked.map_or(1, |(_, seconds)| seconds.parse().expect("seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let inputs = corpus(target);
    // Another sequence at every long run, the same at every short one.
    let seed = if seconds > 1 { std::process::id() } else { 1 };
    let mut random = Random(u64::from(seed) << 32 | 0x9e37_79b9);
    let mut runs = 0_u64;
    while Instant::now() < end {
        let mut bytes = inputs[random.below(inputs.len())].1.clone();
        for _ in 0..=random.below(6) {
            change(
                &mut bytes,
                &inputs[random.below(inputs.len())].1,
                &mut random,
            );
        }
        let outcome = std::panic::catch_unwind(|| oracle(&bytes));
        if let Err(finding) = outcome {
            println!(
                "finding of {target}: {}",
                crate::images::digest::hex(&bytes)
            );
            std::panic::resume_unwind(finding);
        }
        runs += 1;
    }
    println!("{target}: {runs} changed inputs in {seconds} s");
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let place = random.below(bytes.len() + 1);
    match random.below(9) {
        0 => bytes.truncate(place),
        1 | 2 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = random.byte();
            }
        }
        3 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << random.below(8);
            }
        }
        4 => {
            let extreme = [0, 1, 127, 128, 254, 255][random.below(6)];
            if let Some(byte) = bytes.get_mut(place) {
                *byte = extreme;
            }
        }
        5 => bytes.insert(place, random.byte()),
        6 if !bytes.is_empty() => {
            let end = place + random.below(bytes.len() - place + 1);
            bytes.drain(place..end);
        }
        7 => {
            // A piece of another input, or of this one.
            let from = random.below(other.len());
            let piece = &other[from..from + random.below((other.len() - from + 1).min(64))];
            bytes.splice(place..place, piece.iter().copied());
        }
        _ => {
            let tail = &other[random.below(other.len() + 1)..];
            bytes.truncate(place);
            bytes.extend(tail);
        }
    }
    bytes.truncate(8192);
}

/// xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).expect("fits")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }
}

macro_rules! replayed {
    ($($target:ident)*) => { $(
        mod $target {
            use super::*;

            #[test]
            fn the_kept_corpus_holds() {
                replay(stringify!($target), crate::fuzzing::$target);
            }

            #[test]
            fn changes_of_the_corpus_hold() {
                mutate(stringify!($target), crate::fuzzing::$target);
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

replayed!(dhcp tftp http request images template);
