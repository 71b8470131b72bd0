//! The steps of all kinds, against a machine that is played.

mod inputs;
mod invariants;
mod password;
mod power;
mod repave;
mod waits;
mod world;
