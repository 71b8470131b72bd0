//! What holds whatever comes.

use metalman_api::operation::OperationKind;
use proptest::prelude::*;

use super::world::{LIMITS, World};
use crate::domain::{facts::SightingKind, step::Action};

fn sighting_kinds() -> impl Strategy<Value = SightingKind> {
    prop_oneof![
        Just(SightingKind::Dhcp),
        Just(SightingKind::BootFile),
        Just(SightingKind::LoaderRefused),
        Just(SightingKind::GrubInstall),
        Just(SightingKind::Claimed),
        (0_u8..=100).prop_map(|p| SightingKind::Progress(Some(p))),
        Just(SightingKind::Written("cc".into())),
        Just(SightingKind::InstallFailed("WriteFailed".into())),
    ]
}

proptest! {
    /// Whatever is seen in whatever order, with the state stored and loaded between any two
    /// steps: power is never touched after a proved write, attempts are bounded, the end is final.
    #[test]
    fn any_order_of_sightings_keeps_the_invariants(
        script in proptest::collection::vec((0_u16..400, proptest::option::of(sighting_kinds())), 0..40)
    ) {
        let mut world = World::new(OperationKind::HostReplace);
        for (seconds, sighting) in script {
            if let Some(kind) = sighting {
                world.sight(kind, "seen");
            }
            world.now += i64::from(seconds);
            let written = world.state.image_written_at.is_some();
            let (offs, ended) = (world.count(&Action::ForceOff), world.state.phase.is_terminal());
            let stored = serde_json::to_string(&world.state).unwrap();
            world.state = serde_json::from_str(&stored).unwrap();
            world.tick();
            if written || ended {
                prop_assert_eq!(world.count(&Action::ForceOff), offs);
            }
            prop_assert!(world.state.install_attempts <= LIMITS.max_attempts);
            if ended {
                prop_assert_eq!(serde_json::to_string(&world.state).unwrap(), stored);
            }
        }
    }
}
