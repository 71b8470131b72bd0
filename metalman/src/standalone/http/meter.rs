//! How much one user may ask: requests by a token bucket, watches by number.
//!
//! Administrators are not counted: the appliance itself is one, and must not wait behind others.
//! Invariant: what is remembered is bounded, and forgetting a user only gives it a full bucket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant};

use crate::standalone::access::{Role, User};
use crate::standalone::status::ApiError;

/// Users remembered.
const USERS: usize = 4096;

/// How much is permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests per second of one user, at length.
    pub rate: u32,
    /// Requests of one user at once.
    pub burst: u32,
    /// Open watches of one user.
    pub watches_per_user: usize,
    /// Open watches of all users but administrators.
    pub watches: usize,
}

/// A bucket of tokens that fills with time. Pure.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(quota: Quota, now: Instant) -> Self {
        let tokens = f64::from(quota.burst);
        Self { tokens, at: now }
    }

    fn fill(&mut self, quota: Quota, now: Instant) {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(quota.rate);
        self.tokens = (self.tokens + grown).min(f64::from(quota.burst));
        self.at = now;
    }

    /// Takes a token, or says when there will be one.
    fn take(&mut self, quota: Quota, now: Instant) -> Result<(), Duration> {
        self.fill(quota, now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.tokens) / f64::from(quota.rate.max(1));
        Err(Duration::from_secs_f64(missing))
    }
}

#[derive(Debug)]
struct Account {
    bucket: Bucket,
    watches: Arc<Semaphore>,
}

/// The accounts of all users.
#[derive(Debug)]
pub struct Meter {
    quota: Quota,
    watches: Arc<Semaphore>,
    accounts: Mutex<HashMap<String, Account>>,
}

/// The right to one open watch; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct WatchPlace {
    _places: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Meter {
    /// Nobody has asked for anything yet.
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            watches: Arc::new(Semaphore::new(quota.watches)),
            accounts: Mutex::default(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429 with the seconds to wait.
    pub(super) fn request(&self, user: &User, now: Instant) -> Result<(), ApiError> {
        if user.role == Role::Admin {
            return Ok(());
        }
        let quota = self.quota;
        self.account(user, now, |account| account.bucket.take(quota, now))
            .map_err(|wait| ApiError::too_many_requests_for("requests", wait))
    }

    /// Takes a place for a watch.
    ///
    /// # Errors
    /// 429 when this user, or all together, have as many as are permitted.
    pub(super) fn watch(&self, user: &User, now: Instant) -> Result<WatchPlace, ApiError> {
        if user.role == Role::Admin {
            return Ok(WatchPlace { _places: None });
        }
        let own = self.account(user, now, |account| Arc::clone(&account.watches));
        let own = own
            .try_acquire_owned()
            .map_err(|_| ApiError::too_many_requests("watches of this user"))?;
        let all = Arc::clone(&self.watches)
            .try_acquire_owned()
            .map_err(|_| ApiError::too_many_requests("watches"))?;
        Ok(WatchPlace {
            _places: Some((own, all)),
        })
    }

    fn account<T>(&self, user: &User, now: Instant, look: impl FnOnce(&mut Account) -> T) -> T {
        let quota = self.quota;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= USERS && !accounts.contains_key(&user.name) {
            accounts.retain(|_, account| {
                account.bucket.fill(quota, now);
                account.bucket.tokens < f64::from(quota.burst)
                    || account.watches.available_permits() < quota.watches_per_user
            });
        }
        let account = accounts
            .entry(user.name.clone())
            .or_insert_with(|| Account {
                bucket: Bucket::full(quota, now),
                watches: Arc::new(Semaphore::new(quota.watches_per_user)),
            });
        look(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        rate: 2,
        burst: 3,
        watches_per_user: 2,
        watches: 3,
    };

    fn user(name: &str) -> User {
        User::new(name, vec!["unbounded:viewers".into()])
    }

    #[test]
    fn a_bucket_fills_with_time() {
        let (meter, start) = (Meter::new(QUOTA), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for _ in 0..3 {
            meter.request(&user("a"), at(0)).unwrap();
        }
        let refused = meter.request(&user("a"), at(0)).unwrap_err();
        assert_eq!((refused.code(), refused.retry_after()), (429, Some(1)));
        meter.request(&user("b"), at(0)).unwrap();
        meter.request(&user("a"), at(500)).unwrap();
        assert!(meter.request(&user("a"), at(500)).is_err());
        for _ in 0..3 {
            meter.request(&user("a"), at(60_000)).unwrap();
        }
        assert!(
            meter.request(&user("a"), at(60_000)).is_err(),
            "no more than the burst"
        );
        for _ in 0..100 {
            meter.request(&User::admin(), at(0)).unwrap();
        }
    }

    #[test]
    fn watches_are_counted_by_user_and_together() {
        let (meter, now) = (Meter::new(QUOTA), Instant::now());
        let first = meter.watch(&user("a"), now).unwrap();
        let _second = meter.watch(&user("a"), now).unwrap();
        let refused = meter.watch(&user("a"), now).unwrap_err();
        assert!(refused.message().contains("watches of this user"));
        let _third = meter.watch(&user("b"), now).unwrap();
        assert!(meter.watch(&user("b"), now).is_err(), "three in all");
        let _own: Vec<_> = (0..9)
            .map(|_| meter.watch(&User::admin(), now).unwrap())
            .collect();
        drop(first);
        meter.watch(&user("b"), now).unwrap();
    }

    #[test]
    fn users_are_forgotten_when_they_are_many() {
        let (meter, now) = (Meter::new(QUOTA), Instant::now());
        meter.request(&user("busy"), now).unwrap();
        let later = now + Duration::from_secs(10);
        let place = meter.watch(&user("watcher"), later).unwrap();
        for n in 0..2 * USERS {
            meter.watch(&user(&n.to_string()), later).unwrap();
        }
        let known = meter.accounts.lock().unwrap();
        assert!(known.len() <= USERS && known.contains_key("watcher"));
        drop((known, place));
    }
}
