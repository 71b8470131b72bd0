//! One BMC: its owner. Calls go one by one, through the breaker, the budget and a lane.
//!
//! Invariant: at most one session, and at most one call, at any time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use redfish::{Fingerprint, Timeouts};
use tokio::sync::{Mutex, MutexGuard};
use tracing::{debug, warn};

use super::{
    BmcAccess,
    breaker::{Breaker, Urgency},
    budget::Budget,
    errand::{Errand, is_declined},
    lanes::Lanes,
    open::{Account, Fit, Open},
    repin::{Certificates, certificates, pin_anew},
    trust::Authorities,
    words::{trouble, unauthorized},
};
use crate::{domain::facts::Trouble, store::Store, supervisor::chain};

/// Longest call with everything in it: session, several requests, a task, reading back.
const LONGEST_CALL: Duration = Duration::from_mins(4);

/// The owner of one BMC address.
#[derive(Debug, Default)]
pub(super) struct Governor {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    breaker: Breaker,
    budget: Budget,
    /// The appliance stops: no further session is begun.
    is_closed: bool,
}

/// What all governors share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) store: &'a Store,
    pub(super) lanes: &'a Lanes,
    pub(super) authorities: &'a Authorities,
    pub(super) timeouts: Timeouts,
    pub(super) clock: fn() -> Timestamp,
}

impl Governor {
    /// Does an errand, waiting for its turn.
    pub(super) async fn call<E: Errand>(
        &self,
        common: Common<'_>,
        address: &str,
        access: &BmcAccess,
        errand: &E,
    ) -> Result<E::Answer, Trouble> {
        let state = self.state.lock().await;
        govern(state, common, address, access, errand, Urgency::Urgent).await
    }

    /// Logs in anew with this very password, whatever client there is, and does an errand.
    pub(super) async fn call_anew<E: Errand>(
        &self,
        common: Common<'_>,
        address: &str,
        access: &BmcAccess,
        errand: &E,
    ) -> Result<E::Answer, Trouble> {
        let mut state = self.state.lock().await;
        if let Some(open) = state.open.take() {
            open.close().await;
        }
        govern(state, common, address, access, errand, Urgency::Urgent).await
    }

    /// Does an errand that nobody waits for, if nobody else is calling this BMC; `None` if somebody
    /// is. Of a BMC that is left alone it gives the trouble, with the time of its last failure.
    pub(super) async fn poll<E: Errand>(
        &self,
        common: Common<'_>,
        address: &str,
        access: &BmcAccess,
        errand: &E,
    ) -> Option<Result<E::Answer, Trouble>> {
        let state = self.state.try_lock().ok()?;
        let refused = state.breaker.admit((common.clock)(), Urgency::Routine);
        if let Err(refusal) = refused
            && !state.is_news(access)
        {
            return Some(Err(refusal));
        }
        Some(govern(state, common, address, access, errand, Urgency::Routine).await)
    }

    /// The certificate that the BMC presents now, and the one that is pinned. No password is sent.
    pub(super) async fn certificates(
        &self,
        common: Common<'_>,
        address: &str,
        access: &BmcAccess,
    ) -> Result<Certificates, Trouble> {
        let state = self.state.lock().await;
        let _place = common.lanes.enter(state.breaker.is_doubtful()).await;
        certificates(account(common, address, access)).await
    }

    /// Pins `wanted`, which the BMC must present now, instead of what was pinned. The next call logs
    /// in anew.
    pub(super) async fn repin(
        &self,
        common: Common<'_>,
        address: &str,
        access: &BmcAccess,
        wanted: Fingerprint,
    ) -> Result<Certificates, Trouble> {
        let mut state = self.state.lock().await;
        let _place = common.lanes.enter(state.breaker.is_doubtful()).await;
        let pinned = pin_anew(account(common, address, access), wanted).await?;
        if let Some(open) = state.open.take() {
            open.repin(wanted).await;
        }
        // What failed for the sake of the old certificate says nothing any more.
        state.breaker.succeeded();
        Ok(pinned)
    }

    /// Ends the session, and begins none from now on.
    pub(super) async fn close(&self) {
        let mut state = self.state.lock().await;
        state.is_closed = true;
        if let Some(open) = state.open.take() {
            open.close().await;
        }
    }
}

async fn govern<E: Errand>(
    mut state: MutexGuard<'_, State>,
    common: Common<'_>,
    address: &str,
    access: &BmcAccess,
    errand: &E,
    urgency: Urgency,
) -> Result<E::Answer, Trouble> {
    let now = (common.clock)();
    if state.is_closed {
        return Err(trouble(
            address,
            "Stopping",
            "the appliance stops",
            true,
            now,
        ));
    }
    if state.is_news(access)
        && let Some(open) = state.open.take()
    {
        open.close().await;
        state.breaker.succeeded();
    }
    state.breaker.admit(now, urgency)?;
    let pause = state.budget.pause(now);
    if pause > SignedDuration::ZERO {
        debug!(
            bmc.addr = address,
            ?pause,
            "request budget is spent, waiting"
        );
        tokio::time::sleep(pause.unsigned_abs()).await;
    }
    let _place = common.lanes.enter(state.breaker.is_doubtful()).await;
    state.call(common, address, access, errand).await
}

fn account<'a>(common: Common<'a>, address: &'a str, access: &'a BmcAccess) -> Account<'a> {
    Account {
        store: common.store,
        authorities: common.authorities,
        address,
        access,
        timeouts: common.timeouts,
        now: (common.clock)(),
    }
}

impl State {
    /// Whether what is known of this BMC says nothing about `access`. A changed Secret is no news
    /// to a client that works: its password may be the right one until the BMC's changes too, and a
    /// failed login brings the account nearer to its lock-out.
    fn is_news(&self, access: &BmcAccess) -> bool {
        match self.open.as_ref().map(|open| open.fit(access)) {
            None | Some(Fit::Same) => false,
            Some(Fit::OtherPassword) => self.breaker.is_doubtful(),
            Some(Fit::OtherAccount) => true,
        }
    }

    /// Makes the call; where the BMC refuses a password that has been replaced meanwhile, once more
    /// with the one that replaced it.
    async fn call<E: Errand>(
        &mut self,
        common: Common<'_>,
        address: &str,
        access: &BmcAccess,
        errand: &E,
    ) -> Result<E::Answer, Trouble> {
        let fit = self.open.as_ref().map(|open| open.fit(access));
        let outcome = self.call_once(common, address, access, errand).await;
        if fit == Some(Fit::OtherPassword) && self.open.is_none() {
            return self.call_once(common, address, access, errand).await;
        }
        outcome
    }

    async fn call_once<E: Errand>(
        &mut self,
        common: Common<'_>,
        address: &str,
        access: &BmcAccess,
        errand: &E,
    ) -> Result<E::Answer, Trouble> {
        let account = |now| Account {
            now,
            ..account(common, address, access)
        };
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(Open::new(account((common.clock)())).await?),
        };
        let sent = open.requests();
        let client = open.system(access.system_id.as_deref());
        let outcome = tokio::time::timeout(LONGEST_CALL, errand.run(client)).await;
        let now = (common.clock)();
        let cost = open.requests().saturating_sub(sent);
        self.budget
            .spend(now, u32::try_from(cost).unwrap_or(u32::MAX));
        match outcome {
            Ok(Ok(answer)) => {
                self.breaker.succeeded();
                open.prove(account(now)).await?;
                debug!(bmc.addr = address, ?errand, "BMC answered");
                Ok(answer)
            }
            Ok(Err(redfish::Error::Unauthorized { .. })) => {
                let refused = open.password();
                self.open = None;
                account(now).refuse(refused).await?;
                warn!(
                    bmc.addr = address,
                    "BMC refused the password of Secret {}", access.secret.name
                );
                Err(unauthorized(address, access, now))
            }
            Ok(Err(error)) => {
                let mut what = chain(&error);
                if !error.is_transient() {
                    what = format!("{what}. {}", error.cure());
                }
                let trouble = trouble(address, error.reason(), &what, error.is_transient(), now);
                if E::IS_QUESTION && is_declined(&error) {
                    self.breaker.succeeded();
                    return Err(trouble);
                }
                let retry_after = error
                    .retry_after()
                    .and_then(|pause| SignedDuration::try_from(pause).ok());
                Err(self.failed(now, trouble, retry_after, errand))
            }
            Err(_elapsed) => {
                let what = format!("did not finish in {} s", LONGEST_CALL.as_secs());
                let trouble = trouble(address, "TimedOut", &what, true, now);
                Err(self.failed(now, trouble, None, errand))
            }
        }
    }

    fn failed(
        &mut self,
        now: Timestamp,
        trouble: Trouble,
        retry_after: Option<SignedDuration>,
        errand: &impl Errand,
    ) -> Trouble {
        warn!(error = %trouble.message, error.reason = %trouble.reason, ?errand, "BMC call failed");
        self.breaker.failed(now, &trouble, retry_after);
        trouble
    }
}
