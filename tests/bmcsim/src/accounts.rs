//! Accounts: who may do what, and what wrong passwords lead to.
//!
//! Pure; time is passed in. A locked account refuses the right password too, as real ones do.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::profile::Lockout;

/// The roles that the standard defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Administrator,
    Operator,
    ReadOnly,
}

impl Role {
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Administrator, Self::Operator, Self::ReadOnly]
            .into_iter()
            .find(|role| role.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Administrator => "Administrator",
            Self::Operator => "Operator",
            Self::ReadOnly => "ReadOnly",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) role: Role,
    pub(crate) is_enabled: bool,
    pub(crate) must_change: bool,
    strikes: u32,
    locked_until: Option<Instant>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) account: u64,
    pub(crate) role: Role,
    pub(crate) must_change: bool,
}

/// What became of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Welcome(Who),
    Refused,
    /// Refused, and with this the account became locked.
    LockedNow,
}

#[derive(Debug)]
pub(crate) struct Accounts {
    accounts: BTreeMap<u64, Account>,
    last: u64,
}

impl Accounts {
    /// One administrator, the first account.
    pub(crate) fn new(user: &str, password: &str) -> Self {
        let mut accounts = Self {
            accounts: BTreeMap::new(),
            last: 0,
        };
        accounts.add(user, password, Role::Administrator);
        accounts
    }

    pub(crate) fn add(&mut self, user: &str, password: &str, role: Role) -> u64 {
        self.last += 1;
        let account = Account {
            user: user.to_owned(),
            password: password.to_owned(),
            role,
            is_enabled: true,
            must_change: false,
            strikes: 0,
            locked_until: None,
        };
        self.accounts.insert(self.last, account);
        self.last
    }

    pub(crate) fn remove(&mut self, id: u64) -> bool {
        self.accounts.remove(&id).is_some()
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Account> {
        self.accounts.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Account> {
        self.accounts.get_mut(&id)
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.accounts.keys().copied().collect()
    }

    pub(crate) fn has(&self, user: &str) -> bool {
        self.accounts.values().any(|account| account.user == user)
    }

    pub(crate) fn who(&self, id: u64) -> Option<Who> {
        let account = self.get(id).filter(|account| account.is_enabled)?;
        Some(Who {
            account: id,
            role: account.role,
            must_change: account.must_change,
        })
    }

    /// Judges a password and keeps count of wrong ones.
    pub(crate) fn login(
        &mut self,
        user: &str,
        password: &str,
        lockout: Option<Lockout>,
        now: Instant,
    ) -> Login {
        let Some((id, account)) = self
            .accounts
            .iter_mut()
            .find(|(_, known)| known.user == user)
        else {
            return Login::Refused;
        };
        if account.is_locked(now) || !account.is_enabled {
            return Login::Refused;
        }
        if account.password == password {
            account.strikes = 0;
            account.locked_until = None;
            return Login::Welcome(Who {
                account: *id,
                role: account.role,
                must_change: account.must_change,
            });
        }
        account.strikes += 1;
        match lockout {
            Some(lockout) if lockout.strikes > 0 && account.strikes >= lockout.strikes => {
                account.strikes = 0;
                account.locked_until = Some(now + Duration::from_secs(lockout.seconds));
                Login::LockedNow
            }
            Some(_) | None => Login::Refused,
        }
    }

    /// How many accounts are locked.
    pub(crate) fn locked(&self, now: Instant) -> usize {
        self.accounts
            .values()
            .filter(|account| account.is_locked(now))
            .count()
    }
}

impl Account {
    pub(crate) fn is_locked(&self, now: Instant) -> bool {
        self.locked_until.is_some_and(|until| now < until)
    }

    pub(crate) fn unlock(&mut self) {
        self.locked_until = None;
        self.strikes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_wrong_password_locks_and_time_unlocks() {
        let lockout = Some(Lockout {
            strikes: 3,
            seconds: 60,
        });
        let mut accounts = Accounts::new("admin", "right");
        let now = Instant::now();
        let mut try_at = |password, seconds| {
            accounts.login(
                "admin",
                password,
                lockout,
                now + Duration::from_secs(seconds),
            )
        };
        assert_eq!(try_at("wrong", 0), Login::Refused);
        assert!(
            matches!(try_at("right", 0), Login::Welcome(_)),
            "starts the count anew"
        );
        assert_eq!(try_at("wrong", 1), Login::Refused);
        assert_eq!(try_at("wrong", 2), Login::Refused);
        assert_eq!(try_at("wrong", 3), Login::LockedNow);
        assert_eq!(try_at("right", 62), Login::Refused);
        assert!(matches!(try_at("right", 63), Login::Welcome(_)));
    }
}
