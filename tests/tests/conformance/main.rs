//! One suite for two servers: every case runs against the embedded API and, when
//! `KUBEBUILDER_ASSETS` names its binaries, against a real Kubernetes API server; their answers must
//! be the same but for uids, versions and times. What is known to differ, and why, is the table in
//! `metalman/src/standalone/DIFFERENCES.md`.

#![expect(clippy::too_many_lines, reason = "a group of cases is one table")]

#[cfg(test)]
mod cases;
#[cfg(test)]
mod known;
#[cfg(test)]
mod random;
#[cfg(test)]
mod session;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod transcript;
