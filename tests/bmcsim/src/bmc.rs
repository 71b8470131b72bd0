//! One simulated BMC: its identity, its state, and the lock around it.
//!
//! No HTTP here. The lock is never held across an await.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::accounts::Accounts;
use crate::boot::{BootChoice, BootOverride};
use crate::clock;
use crate::config::BmcConfig;
use crate::counters::Counters;
use crate::faults::{self, Fault};
use crate::habits::Habits;
use crate::line::{Door, Line};
use crate::log::{Call, Log, PowerEvent, PowerKind};
use crate::machine::{ResetCommand, ResetType};
use crate::profile::Profile;
use crate::sel::EventLog;
use crate::sessions::Sessions;
use crate::tasks::Tasks;
use crate::tls::Certificate;
use crate::tree::Tree;

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
    /// An override that waits for a reset, see [`Profile::settings_apply_on_reset`].
    pub(crate) pending_boot: Option<BootOverride>,
    pub(crate) boot_order: Option<Vec<String>>,
    /// What was written to resources, by path: merge patches.
    pub(crate) written: BTreeMap<String, Value>,
    pub(crate) accounts: Accounts,
    pub(crate) sessions: Sessions,
    pub(crate) tasks: Tasks,
    pub(crate) sel: EventLog,
    pub(crate) faults: Vec<Fault>,
    pub(crate) habits: Habits,
    pub(crate) log: Log,
    pub(crate) counters: Counters,
}

impl State {
    /// Pending BIOS attributes become the current ones.
    fn settle_bios(&mut self) {
        let is_pending = |path: &String| path.contains("/Bios/");
        let pending: Vec<String> = self
            .written
            .keys()
            .filter(|path| is_pending(path))
            .cloned()
            .collect();
        for path in pending {
            let Some((system, _)) = path.split_once("/Bios/") else {
                continue;
            };
            let bios = format!("{system}/Bios");
            if let Some(patch) = self.written.remove(&path) {
                faults::merge(self.written.entry(bios).or_insert(Value::Null), &patch);
            }
        }
    }
}

/// A BMC. Shared by its service, its machine task and the admin plane.
#[derive(Debug)]
pub struct Bmc {
    pub(crate) identity: Identity,
    pub(crate) profile: Profile,
    pub(crate) tree: Arc<Tree>,
    pub(crate) line: Line,
    state: Mutex<State>,
    commands: mpsc::Sender<ResetCommand>,
}

/// What does not change.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) uuid: Uuid,
    pub(crate) macs: Vec<String>,
    pub(crate) bmc_mac: String,
    pub(crate) drives: Vec<DriveFacts>,
}

/// Serial number and size of a drive.
#[derive(Debug, Clone)]
pub(crate) struct DriveFacts {
    pub(crate) serial: String,
    pub(crate) bytes: u64,
}

impl Bmc {
    pub(crate) fn new(
        config: &BmcConfig,
        address: IpAddr,
        tree: Arc<Tree>,
        line: Line,
        commands: mpsc::Sender<ResetCommand>,
    ) -> Self {
        Self {
            identity: Identity {
                name: config.name.clone(),
                address,
                uuid: config.uuid(),
                macs: config.macs(),
                bmc_mac: config.derived_mac(0xff),
                drives: config.drives(),
            },
            profile: config.profile.clone(),
            tree,
            line,
            state: Mutex::new(State {
                power: if config.powered_on {
                    Power::On
                } else {
                    Power::Off
                },
                boot: BootOverride::default(),
                pending_boot: None,
                boot_order: None,
                written: BTreeMap::new(),
                accounts: Accounts::new(&config.user, &config.password),
                sessions: Sessions::default(),
                tasks: Tasks::default(),
                sel: EventLog::new(config.profile.sel_entries, clock::now()),
                faults: Vec::new(),
                habits: Habits::default(),
                log: Log::keeping(config.log_entries),
                counters: Counters::default(),
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
        let mut state = self.state();
        let lost = state.sessions.ids().len();
        state.counters.sessions_lost += u64::try_from(lost).unwrap_or(0);
        state.sessions.clear();
    }

    pub fn log(&self) -> Log {
        self.state().log.clone()
    }

    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    /// The figures so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.state().counters.clone();
        (counters.connections, counters.handshakes) = self.line.counted();
        counters
    }

    /// Starts counting anew.
    pub fn clear_counters(&self) {
        self.state().counters = Counters::default();
        self.line.clear_counted();
    }

    /// How many accounts are locked at present.
    pub fn locked_accounts(&self) -> usize {
        self.state().accounts.locked(tokio::time::Instant::now())
    }

    /// Changes the password of the first account, as somebody else would, without Redfish.
    pub fn set_password(&self, password: &str) {
        if let Some(account) = self.state().accounts.get_mut(1) {
            password.clone_into(&mut account.password);
            account.unlock();
        }
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

    /// What the machine does besides what it is told.
    pub fn habits(&self) -> Habits {
        self.state().habits.clone()
    }

    pub fn set_habits(&self, habits: Habits) {
        self.state().habits = habits;
    }

    /// How connections are met from now on.
    pub fn set_door(&self, door: Door) {
        self.line.set_door(door);
    }

    /// Replaces the TLS certificate by a new one, for connections to come.
    ///
    /// # Errors
    /// No key could be made.
    pub fn change_certificate(&self) -> anyhow::Result<()> {
        self.line
            .set_certificate(Certificate::generate(self.identity.address)?);
        Ok(())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_fault(&self, method: &str, path: &str) -> Option<Fault> {
        faults::take(&mut self.state().faults, method, path)
    }

    pub(crate) fn record_call(&self, call: Call) {
        let mut state = self.state();
        state.counters.requests += 1;
        if let Some(status) = call.status {
            *state.counters.by_status.entry(status).or_default() += 1;
        }
        state.log.call(call);
    }

    /// Hands a reset to the machine. `false`: not possible in this state, or shutting down.
    pub(crate) async fn reset(&self, reset: ResetType) -> bool {
        let (accepted, answer) = oneshot::channel();
        let is_accepted = self
            .commands
            .send(ResetCommand { reset, accepted })
            .await
            .is_ok()
            && answer.await.unwrap_or(false);
        if is_accepted {
            *self
                .state()
                .counters
                .resets
                .entry(reset.cause())
                .or_default() += 1;
        }
        is_accepted
    }

    pub(crate) fn set_power(&self, power: Power) {
        self.state().power = power;
    }

    /// Sets the power and writes the history, in one go.
    pub(crate) fn record_power(
        &self,
        power: Power,
        kind: PowerKind,
        cause: &str,
        boot: Option<BootChoice>,
    ) {
        let at = clock::now();
        let event = PowerEvent {
            at,
            bmc: self.identity.name.clone(),
            kind,
            cause: cause.to_owned(),
            boot,
        };
        let mut state = self.state();
        state.power = power;
        let severity = match kind {
            PowerKind::On => {
                state.counters.powered_on += 1;
                "OK"
            }
            PowerKind::Off => {
                state.counters.powered_off += 1;
                "OK"
            }
            PowerKind::Restart => {
                state.counters.restarts += 1;
                "OK"
            }
            PowerKind::Failed => "Critical",
        };
        state
            .sel
            .add(at, severity, format!("System power: {kind:?} ({cause})"));
        state.log.power(event);
    }

    /// What the launch that follows boots; uses up an override of one boot, and what waited for a reset now counts.
    pub(crate) fn take_boot(&self, by_force: bool) -> BootChoice {
        let mut state = self.state();
        if by_force && let Some(pending) = state.pending_boot.take() {
            state.boot = pending;
        }
        state.settle_bios();
        let (choice, mut rest) = state.boot.launched();
        if self.profile.keeps_spent_target {
            rest.target.clone_from(&state.boot.target);
        }
        if !state.habits.keeps_override {
            state.boot = rest;
        }
        if state.habits.ignores_override {
            return BootChoice::Default;
        }
        choice
    }
}
