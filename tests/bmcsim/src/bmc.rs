//! One simulated BMC: its identity, its state, and the lock around it.
//!
//! No HTTP here. The lock is never held across an await.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::boot::{BootChoice, BootOverride};
use crate::clock;
use crate::config::BmcConfig;
use crate::faults::{self, Fault};
use crate::log::{Call, Log, PowerEvent, PowerKind};
use crate::machine::{ResetCommand, ResetType};
use crate::profile::Profile;
use crate::sessions::Sessions;
use crate::tasks::Tasks;

/// `PowerState` of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Power {
    Off,
    PoweringOn,
    On,
    PoweringOff,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) power: Power,
    pub(crate) boot: BootOverride,
    /// Version of the system resource, the content of its ETag.
    pub(crate) version: u64,
    pub(crate) sessions: Sessions,
    pub(crate) tasks: Tasks,
    pub(crate) faults: Vec<Fault>,
    pub(crate) log: Log,
}

/// A BMC. Shared by its service, its machine task and the admin plane.
#[derive(Debug)]
pub struct Bmc {
    pub(crate) identity: Identity,
    pub(crate) profile: Profile,
    state: Mutex<State>,
    commands: mpsc::Sender<ResetCommand>,
}

/// What does not change.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) system_id: String,
    pub(crate) uuid: Uuid,
    pub(crate) mac: Option<String>,
}

impl Bmc {
    pub(crate) fn new(config: &BmcConfig, commands: mpsc::Sender<ResetCommand>) -> Self {
        Self {
            identity: Identity {
                name: config.name.clone(),
                user: config.user.clone(),
                password: config.password.clone(),
                system_id: config.system_id.clone(),
                uuid: config.uuid(),
                mac: config.mac(),
            },
            profile: config.profile.clone(),
            state: Mutex::new(State {
                power: Power::Off,
                boot: BootOverride::default(),
                version: 1,
                sessions: Sessions::default(),
                tasks: Tasks::default(),
                faults: Vec::new(),
                log: Log::default(),
            }),
            commands,
        }
    }

    pub fn name(&self) -> &str {
        &self.identity.name
    }

    pub fn power(&self) -> Power {
        self.state().power
    }

    /// The boot override as it stands.
    pub fn boot(&self) -> BootOverride {
        self.state().boot.clone()
    }

    /// Ids of the open sessions.
    pub fn sessions(&self) -> Vec<u64> {
        self.state().sessions.ids()
    }

    /// Forgets all sessions, as a BMC does when it restarts.
    pub fn clear_sessions(&self) {
        self.state().sessions.clear();
    }

    pub fn log(&self) -> Log {
        self.state().log.clone()
    }

    pub fn clear_log(&self) {
        self.state().log = Log::default();
    }

    /// Appends a fault rule.
    pub fn add_fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    pub fn faults(&self) -> Vec<Fault> {
        self.state().faults.clone()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_fault(&self, method: &str, path: &str) -> Option<Fault> {
        faults::take(&mut self.state().faults, method, path)
    }

    pub(crate) fn record_call(&self, call: Call) {
        self.state().log.call(call);
    }

    /// Hands a reset to the machine. `false`: not possible in this state, or shutting down.
    pub(crate) async fn reset(&self, reset: ResetType) -> bool {
        let (accepted, answer) = oneshot::channel();
        self.commands
            .send(ResetCommand { reset, accepted })
            .await
            .is_ok()
            && answer.await.unwrap_or(false)
    }

    pub(crate) fn set_power(&self, power: Power) {
        let mut state = self.state();
        state.power = power;
        state.version += 1;
    }

    /// Sets the power and writes the history, in one go.
    pub(crate) fn record_power(
        &self,
        power: Power,
        kind: PowerKind,
        cause: &str,
        boot: Option<BootChoice>,
    ) {
        let event = PowerEvent {
            at: clock::now(),
            bmc: self.identity.name.clone(),
            kind,
            cause: cause.to_owned(),
            boot,
        };
        let mut state = self.state();
        state.power = power;
        state.version += 1;
        state.log.power(event);
    }

    /// What the launch that follows boots; uses up an override of one boot.
    pub(crate) fn take_boot(&self) -> BootChoice {
        let mut state = self.state();
        let (choice, rest) = state.boot.launched();
        state.boot = rest;
        state.version += 1;
        choice
    }
}
