//! The line to a BMC below HTTP: how it meets connections, and its certificate.
//!
//! Shared by the accept loop, which obeys, and by the admin plane, which commands.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::tls::Certificate;

/// How connections are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// As they should be.
    #[default]
    Open,
    /// The port is closed: connections are refused.
    Refused,
    /// Nobody takes connections off the queue and the queue is full: SYN packets are dropped.
    Dropped,
    /// Accepted, then nothing: no handshake, no answer, no end.
    HalfOpen,
    /// Accepted and reset at once.
    Reset,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Line {
    door: watch::Sender<Door>,
    certificate: Mutex<Arc<Certificate>>,
    connections: AtomicU64,
    handshakes: AtomicU64,
}

impl Line {
    pub(crate) fn new(certificate: Arc<Certificate>) -> Self {
        Self {
            door: watch::Sender::new(Door::Open),
            certificate: Mutex::new(certificate),
            connections: AtomicU64::new(0),
            handshakes: AtomicU64::new(0),
        }
    }

    pub(crate) fn door(&self) -> watch::Receiver<Door> {
        self.door.subscribe()
    }

    pub(crate) fn set_door(&self, door: Door) {
        self.door.send_replace(door);
    }

    pub(crate) fn certificate(&self) -> Arc<Certificate> {
        let certificate = self
            .certificate
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&certificate)
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.certificate().server)
    }

    pub(crate) fn set_certificate(&self, certificate: Certificate) {
        *self
            .certificate
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
    }

    pub(crate) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_handshake(&self) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections and handshakes.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (
            self.connections.load(Ordering::Relaxed),
            self.handshakes.load(Ordering::Relaxed),
        )
    }

    pub(crate) fn clear_counted(&self) {
        self.connections.store(0, Ordering::Relaxed);
        self.handshakes.store(0, Ordering::Relaxed);
    }
}
