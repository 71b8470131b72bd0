//! From a bearer token to its user.
//!
//! The administrator's token is compared in constant time; the others are looked up by their hash in
//! a copy of the store's table that is renewed when the table changes. Invariant: tokens are never
//! stored or logged in the clear, and an agent's token is worth nothing without its Machine.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use base64::Engine as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::user::User;
use crate::store::{ApiToken, Store, StoreError, TokenRole};

/// Marks a token as one of ours, for people and for scanners of leaked secrets.
const PREFIX: &str = "metalman_";

/// The uid of a Machine by its name.
type MachineUid = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The tokens that open the door. Clones share what they know.
#[derive(Clone)]
pub struct Access(Arc<Shared>);

struct Shared {
    admin: [u8; 32],
    known: ArcSwap<HashMap<String, ApiToken>>,
    revision: AtomicI64,
    machine_uid: MachineUid,
    clock: fn() -> Timestamp,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Access by the administrator's token; [`Access::refresh`] brings in the others.
    pub fn new(
        admin_token: &str,
        clock: fn() -> Timestamp,
        machine_uid: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            admin: digest(admin_token),
            known: ArcSwap::default(),
            revision: AtomicI64::new(-1),
            machine_uid: Arc::new(machine_uid),
            clock,
        }))
    }

    /// Takes over the store's table if it changed. Returns whether it did.
    ///
    /// # Errors
    /// The store does not answer; what was known stays in force.
    pub async fn refresh(&self, store: &Store) -> Result<bool, StoreError> {
        let revision = store.api_tokens().revision().await?;
        if self.0.revision.load(Ordering::Acquire) == revision {
            return Ok(false);
        }
        let all = store.api_tokens().all().await?;
        let live = all.into_iter().filter(|token| token.revoked_at.is_none());
        let known = live.map(|token| (token.hash.clone(), token)).collect();
        self.0.known.store(Arc::new(known));
        self.0.revision.store(revision, Ordering::Release);
        Ok(true)
    }

    /// Agents whose Machine is gone or another one by now.
    pub fn orphans(&self) -> Vec<String> {
        let known = self.0.known.load();
        known
            .values()
            .filter(|token| token.role == TokenRole::Agent && !self.has_machine(token))
            .map(|token| token.name.clone())
            .collect()
    }

    /// Live tokens, the administrator's aside.
    pub fn count(&self) -> usize {
        self.0.known.load().len()
    }

    /// The user a token belongs to.
    pub fn user(&self, token: &str) -> Option<User> {
        let shown = digest(token);
        let difference = shown
            .iter()
            .zip(&self.0.admin)
            .fold(0_u8, |sum, (left, right)| sum | (left ^ right));
        if difference == 0 {
            return Some(User::admin());
        }
        let known = self.0.known.load();
        let token = known.get(&hex(&shown))?;
        let valid = token.is_live((self.0.clock)())
            && (token.role != TokenRole::Agent || self.has_machine(token));
        valid.then(|| User::of_token(token))
    }

    fn has_machine(&self, token: &ApiToken) -> bool {
        let uid = (self.0.machine_uid)(&token.name);
        uid.is_some() && uid == token.machine_uid
    }
}

/// A new token: what its owner is given. The store gets [`minted`].
pub fn random_token() -> String {
    let random =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    format!("{PREFIX}{random}")
}

/// What the store keeps of a token.
pub fn minted(token: &str, name: &str, role: TokenRole, now: Timestamp) -> ApiToken {
    ApiToken {
        hash: hex(&digest(token)),
        name: name.to_owned(),
        role,
        machine_uid: None,
        operation_uid: None,
        created_at: now,
        expires_at: None,
        revoked_at: None,
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standalone::access::Role;

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn only_the_token_opens() {
        let access = Access::new("right", now, |_| None);
        assert_eq!(access.user("right").unwrap().name, "admin");
        assert!(access.user("wrong").is_none());
        assert!(access.user("").is_none());
    }

    #[tokio::test]
    async fn tokens_of_the_store_open_until_they_are_revoked_expire_or_lose_their_machine() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let access = Access::new("admin", now, |name| (name == "node-1").then(|| "u1".into()));
        let add = async |token: &str, made: ApiToken| {
            assert!(
                store.api_tokens().add(&made, now()).await.unwrap(),
                "{token}"
            );
        };
        add("v", minted("v", "vera", TokenRole::Viewer, now())).await;
        let ended = ApiToken {
            expires_at: Some(now()),
            ..minted("e", "ended", TokenRole::Viewer, now())
        };
        add("e", ended).await;
        for (token, name, uid) in [
            ("a1", "node-1", "u1"),
            ("a2", "node-1", "old"),
            ("a3", "gone", "u1"),
        ] {
            let agent = ApiToken {
                machine_uid: Some(uid.into()),
                operation_uid: Some(format!("op-{token}")),
                ..minted(token, name, TokenRole::Agent, now())
            };
            add(token, agent).await;
        }
        assert!(
            access.user("v").is_none(),
            "nothing is known before a refresh"
        );
        assert!(access.refresh(&store).await.unwrap());
        assert!(!access.refresh(&store).await.unwrap());
        assert_eq!(access.user("v").unwrap().role, Role::Viewer);
        assert!(access.user("e").is_none());
        let agent = access.user("a1").unwrap();
        assert_eq!(
            (agent.name.as_str(), agent.uid.as_str()),
            ("unbounded:agent:node-1", "u1")
        );
        assert!(access.user("a2").is_none(), "another Machine of that name");
        assert!(access.user("a3").is_none());
        let mut orphans = access.orphans();
        orphans.sort();
        assert_eq!(orphans, ["gone", "node-1"]);

        let double = minted("x", "vera", TokenRole::Operator, now());
        assert!(!store.api_tokens().add(&double, now()).await.unwrap());
        assert_eq!(store.api_tokens().revoke("vera", now()).await.unwrap(), 1);
        let superseded = store
            .api_tokens()
            .supersede_agent("node-1", "op-a1", now())
            .await;
        assert_eq!(superseded.unwrap(), 1);
        assert!(access.refresh(&store).await.unwrap());
        assert!(access.user("v").is_none());
        assert!(access.user("a1").is_some());
        assert_eq!(
            store
                .api_tokens()
                .revoke_agent("node-1", now())
                .await
                .unwrap(),
            1
        );
        access.refresh(&store).await.unwrap();
        assert!(access.user("a1").is_none());
        assert!(add_again(&store).await, "a revoked name is free again");
    }

    async fn add_again(store: &Store) -> bool {
        let again = minted("y", "vera", TokenRole::Viewer, now());
        store.api_tokens().add(&again, now()).await.unwrap()
    }

    #[test]
    fn the_text_of_a_token_is_not_kept() {
        let token = random_token();
        let kept = minted(&token, "a", TokenRole::Viewer, now());
        assert!(!format!("{kept:?}").contains(&token));
        assert_eq!(kept.hash.len(), 64);
        assert_ne!(token, random_token());
    }
}
