//! The site as netboot asks it.

use std::{net::Ipv4Addr, sync::Arc};

use netboot::{
    directory::{BootDirectory, BootMachine, Conflict},
    event::BootEvent,
    mac::MacAddr,
};

use super::Site;
use crate::{kube::foreign::Alarm, timeline::Recorder};

/// The site as netboot's port.
#[derive(Debug, Clone)]
pub struct SiteDirectory {
    site: Arc<Site>,
    recorder: Recorder,
    alarm: Alarm,
}

impl SiteDirectory {
    /// Answers from `site`, records to `recorder`, tells `alarm` of other DHCP servers.
    pub fn new(site: Arc<Site>, recorder: Recorder, alarm: Alarm) -> Self {
        Self {
            site,
            recorder,
            alarm,
        }
    }
}

impl BootDirectory for SiteDirectory {
    fn by_mac(&self, mac: MacAddr) -> Option<Arc<BootMachine>> {
        self.site.boot.load().by_mac(mac)
    }

    fn by_ip(&self, ip: Ipv4Addr) -> Option<Arc<BootMachine>> {
        self.site.boot.load().by_ip(ip)
    }

    fn withheld(&self, mac: MacAddr) -> Option<Arc<Conflict>> {
        self.site.boot.load().withheld(mac)
    }

    fn by_install_token(&self, token: &str) -> Option<Arc<BootMachine>> {
        self.site.boot.load().by_install_token(token)
    }

    fn record(&self, event: BootEvent) {
        self.alarm.hear(&event);
        self.recorder.record(event);
    }
}
