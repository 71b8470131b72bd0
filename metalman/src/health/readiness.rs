//! Named gates that together say whether the process is ready. Not a log: only the last word of
//! each gate is kept.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Open,
    Waiting(String),
}

/// All gates of the process. Cheap to clone; clones share the gates.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<&'static str, State>>>,
}

/// The right to open and close one gate. Whoever holds it is the only writer of that gate.
#[derive(Debug)]
pub struct Gate {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Adds a closed gate. `reason` says what it waits for, for people.
    pub fn gate(&self, name: &'static str, reason: &str) -> Gate {
        let gate = Gate {
            name,
            readiness: self.clone(),
        };
        gate.close(reason);
        gate
    }

    /// Whether there is a gate and all gates are open.
    pub fn is_ready(&self) -> bool {
        all_open(&self.lock())
    }

    /// Name and openness of every gate, sorted by name.
    pub(super) fn gates(&self) -> Vec<(&'static str, bool)> {
        self.lock()
            .iter()
            .map(|(name, state)| (*name, *state == State::Open))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, State>> {
        // One whole value is stored per call, so a panic elsewhere cannot leave half a state.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// This part works.
    pub fn open(&self) {
        self.readiness.lock().insert(self.name, State::Open);
    }

    /// This part does not work, or not yet; `reason` is for people and carries no secret.
    pub fn close(&self, reason: &str) {
        self.readiness
            .lock()
            .insert(self.name, State::Waiting(reason.to_owned()));
    }
}

fn all_open(gates: &BTreeMap<&'static str, State>) -> bool {
    !gates.is_empty() && gates.values().all(|state| *state == State::Open)
}

/// One line per gate, as `/readyz` shows it.
impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gates = self.lock().clone();
        for (name, state) in &gates {
            match state {
                State::Open => writeln!(f, "[+] {name}")?,
                State::Waiting(reason) => writeln!(f, "[-] {name}: {reason}")?,
            }
        }
        writeln!(
            f,
            "{}",
            if all_open(&gates) {
                "ready"
            } else {
                "not ready"
            }
        )
    }
}
