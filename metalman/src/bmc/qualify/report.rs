//! The judgement on what was found out about a BMC. Pure.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use redfish::{BootSourceOverrideTarget, PowerState, ResetType, choose_reset};

use super::Findings;

/// A certificate that ends sooner than this is worth a word.
const ENDS_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Sessions open on a BMC that are worth a word: many allow no more than this.
const MANY_SESSIONS: usize = 4;

/// How much something is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Operations do not work without it.
    Required,
    /// Something is lost without it.
    Useful,
}

/// How a point was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// There, with a limit the line names.
    Limited,
    /// Not there.
    Missing,
}

/// One point of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub what: &'static str,
    pub need: Need,
    pub verdict: Verdict,
    pub detail: String,
}

/// All points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the BMC is.
    pub title: String,
    pub lines: Vec<Line>,
}

impl Report {
    /// Whether everything that is required is there.
    pub fn is_qualified(&self) -> bool {
        self.lines
            .iter()
            .all(|line| line.need != Need::Required || line.verdict != Verdict::Missing)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for line in &self.lines {
            let verdict = match (line.verdict, line.need) {
                (Verdict::Good, _) => "ok",
                (Verdict::Limited, _) => "limited",
                (Verdict::Missing, Need::Required) => "MISSING",
                (Verdict::Missing, Need::Useful) => "absent",
            };
            writeln!(f, "  {verdict:<8} {:<18} {}", line.what, line.detail)?;
        }
        let summary = if self.is_qualified() {
            "qualified: everything that operations need is there"
        } else {
            "NOT qualified: see the lines marked MISSING"
        };
        writeln!(f, "{summary}")
    }
}

/// Judges what was found.
pub fn report(found: &Findings, now: Timestamp) -> Report {
    let system = &found.system;
    let title = format!(
        "{}: {}, Redfish {}, platform {}",
        found.address,
        found.product.as_deref().unwrap_or("maker not told"),
        found
            .redfish_version
            .as_deref()
            .unwrap_or("of unknown version"),
        found.platform,
    );
    let lines = vec![
        certificate(found, now),
        sessions(found),
        which_system(found),
        power_state(system.power),
        reset(found, "power off", ResetType::ForceOff, Need::Required),
        reset(found, "power on", ResetType::On, Need::Required),
        reset(
            found,
            "soft shutdown",
            ResetType::GracefulShutdown,
            Need::Useful,
        ),
        boot_override(found),
        http_boot(found),
        counted("boot order", &found.boot_order, |order| {
            let network = order.iter().filter(|option| option.is_network()).count();
            (
                order.len(),
                format!("{} entries, {network} of the network", order.len()),
            )
        }),
        counted("virtual media", &found.media, |media| {
            let cd = media.iter().filter(|drive| drive.takes_cd()).count();
            (cd, format!("{cd} drives for a CD image"))
        }),
        inventory(found),
        counted("sensors", &found.sensors, |sensors| {
            let (hot, fans, supplies) = (
                sensors.temperatures.len(),
                sensors.fans.len(),
                sensors.supplies.len(),
            );
            let text = format!("{hot} temperatures, {fans} fans, {supplies} power supplies");
            (hot + fans + supplies, text)
        }),
        counted("event log", &found.log, |log| {
            let total = log
                .total
                .map_or("unknown number of".to_owned(), |n| n.to_string());
            (
                usize::from(!log.service.is_empty()),
                format!("{total} entries in {}", log.service),
            )
        }),
        indicator(found),
    ];
    Report { title, lines }
}

fn line(what: &'static str, need: Need, verdict: Verdict, detail: impl Into<String>) -> Line {
    Line {
        what,
        need,
        verdict,
        detail: detail.into(),
    }
}

fn certificate(found: &Findings, now: Timestamp) -> Line {
    let say = |verdict, detail: String| line("TLS", Need::Required, verdict, detail);
    let Some(fingerprint) = &found.fingerprint else {
        return say(
            Verdict::Limited,
            "plain HTTP: the password can be read on the wire".into(),
        );
    };
    match found.certificate_ends {
        Some(end) if end <= now => say(
            Verdict::Limited,
            format!("certificate {fingerprint} ended {}", end.strftime("%F")),
        ),
        Some(end) if end.duration_since(now) < ENDS_SOON => say(
            Verdict::Limited,
            format!(
                "certificate {fingerprint} ends soon, {}",
                end.strftime("%F")
            ),
        ),
        Some(end) => say(
            Verdict::Good,
            format!("certificate {fingerprint} until {}", end.strftime("%F")),
        ),
        None => say(Verdict::Good, format!("certificate {fingerprint}")),
    }
}

fn sessions(found: &Findings) -> Line {
    let say = |verdict, detail: String| line("sessions", Need::Useful, verdict, detail);
    match (found.has_sessions, found.sessions) {
        (false, _) => say(
            Verdict::Missing,
            "no SessionService: the password goes with every request".into(),
        ),
        (true, Some(open)) if open >= MANY_SESSIONS => say(
            Verdict::Limited,
            format!("{open} sessions are open; others use this BMC too"),
        ),
        (true, Some(open)) => say(Verdict::Good, format!("{open} open")),
        (true, None) => say(Verdict::Good, "offered".into()),
    }
}

fn which_system(found: &Findings) -> Line {
    let system = &found.system;
    let detail = if found.systems.len() > 1 {
        format!(
            "{} of {}; name it in spec.pxe.redfish.deviceID ({})",
            system.id,
            found.systems.join(", "),
            system.name
        )
    } else {
        format!("{} ({})", system.id, system.name)
    };
    line("system", Need::Required, Verdict::Good, detail)
}

fn power_state(state: PowerState) -> Line {
    let verdict = if state == PowerState::Unknown {
        Verdict::Missing
    } else {
        Verdict::Good
    };
    line("power state", Need::Required, verdict, state.as_str())
}

fn reset(found: &Findings, what: &'static str, wanted: ResetType, need: Need) -> Line {
    let offered = &found.system.resets;
    match choose_reset(wanted, offered) {
        Some(_) if offered.is_empty() => line(
            what,
            need,
            Verdict::Limited,
            format!(
                "{}, though the BMC does not say what it offers",
                wanted.as_str()
            ),
        ),
        Some(_) if offered.contains(&wanted) => line(what, need, Verdict::Good, wanted.as_str()),
        Some(plan) => line(
            what,
            need,
            Verdict::Limited,
            format!("no {}; {plan:?} stands in for it", wanted.as_str()),
        ),
        None => {
            let offered: Vec<&str> = offered.iter().map(|reset| reset.as_str()).collect();
            let detail = format!("no {}; it offers {}", wanted.as_str(), offered.join(", "));
            line(what, need, Verdict::Missing, detail)
        }
    }
}

fn boot_override(found: &Findings) -> Line {
    let say = |verdict, detail: &str| line("boot override", Need::Required, verdict, detail);
    let Some(boot) = &found.system.boot else {
        return say(Verdict::Missing, "the system shows no Boot object");
    };
    if !found.takes_target(BootSourceOverrideTarget::Pxe) {
        return say(
            Verdict::Missing,
            "the target Pxe is not among those it takes",
        );
    }
    match (found.takes_once(), boot.targets.is_empty()) {
        (false, _) => say(
            Verdict::Limited,
            "Pxe, but not for one boot only; it is removed after the installation",
        ),
        (true, true) => say(
            Verdict::Limited,
            "Pxe for one boot, though the BMC does not say what it takes",
        ),
        (true, false) => say(Verdict::Good, "Pxe for one boot"),
    }
}

fn http_boot(found: &Findings) -> Line {
    let say = |verdict, detail: &str| line("HTTP boot", Need::Useful, verdict, detail);
    let Some(boot) = &found.system.boot else {
        return say(Verdict::Missing, "the system shows no Boot object");
    };
    let is_target = found.takes_target(BootSourceOverrideTarget::UefiHttp);
    match (is_target, boot.has_http_uri) {
        (true, true) => say(Verdict::Good, "UefiHttp with HttpBootUri"),
        (true, false) => say(
            Verdict::Limited,
            "UefiHttp without HttpBootUri: the URL comes by DHCP or BIOS attributes",
        ),
        (false, _) => say(
            Verdict::Missing,
            "the target UefiHttp is not among those it takes; use bootProtocol PXE",
        ),
    }
}

fn inventory(found: &Findings) -> Line {
    let say = |verdict, detail: String| line("inventory", Need::Useful, verdict, detail);
    let inventory = match &found.inventory {
        Ok(inventory) => inventory,
        Err(said) => return say(Verdict::Missing, said.clone()),
    };
    let mut text = format!(
        "{} processors, {} memory modules, {} drives, {} network interfaces",
        inventory.processors.len(),
        inventory.memory.len(),
        inventory.drives.len(),
        inventory.interfaces.len(),
    );
    let with_mac = inventory.interfaces.iter().filter(|i| i.mac.is_some());
    if with_mac.count() == 0 {
        text.push_str(", none with a MAC address");
        return say(Verdict::Limited, text);
    }
    if !inventory.gaps.is_empty() {
        text = format!("{text}; not readable: {}", inventory.gaps.join(", "));
        return say(Verdict::Limited, text);
    }
    say(Verdict::Good, text)
}

fn indicator(found: &Findings) -> Line {
    let say = |verdict, detail: String| line("locating lamp", Need::Useful, verdict, detail);
    match &found.indicator {
        Ok(Some(true)) => say(Verdict::Good, "on".into()),
        Ok(Some(false)) => say(Verdict::Good, "off".into()),
        Ok(None) => say(Verdict::Missing, "no lamp is shown".into()),
        Err(said) => say(Verdict::Missing, said.clone()),
    }
}

/// A useful part that may be absent or empty.
fn counted<T>(
    what: &'static str,
    part: &Result<T, String>,
    tell: impl FnOnce(&T) -> (usize, String),
) -> Line {
    let (verdict, detail) = match part {
        Ok(part) => match tell(part) {
            (0, text) => (Verdict::Missing, text),
            (_, text) => (Verdict::Good, text),
        },
        Err(said) => (Verdict::Missing, said.clone()),
    };
    line(what, Need::Useful, verdict, detail)
}

#[cfg(test)]
mod tests {
    use redfish::{BootSourceOverrideEnabled as Enabled, Inventory, Sensors};

    use super::{
        super::{FoundBoot, FoundSystem},
        *,
    };
    use BootSourceOverrideTarget as Target;

    fn system(resets: &[ResetType], targets: &[Target], durations: &[Enabled]) -> FoundSystem {
        FoundSystem {
            id: "1".into(),
            name: "Maker M1".into(),
            power: PowerState::On,
            resets: resets.to_vec(),
            boot: Some(FoundBoot {
                targets: targets.to_vec(),
                durations: durations.to_vec(),
                has_http_uri: false,
            }),
        }
    }

    fn found(system: FoundSystem) -> Findings {
        Findings {
            address: "https://bmc".into(),
            fingerprint: Some("aa:bb".into()),
            certificate_ends: None,
            redfish_version: Some("1.15.0".into()),
            product: None,
            platform: "generic",
            has_sessions: true,
            sessions: Some(1),
            system,
            systems: vec!["1".into()],
            inventory: Ok(Inventory::default()),
            sensors: Ok(Sensors::default()),
            log: Err("404".into()),
            boot_order: Ok(Vec::new()),
            media: Ok(Vec::new()),
            indicator: Ok(None),
        }
    }

    fn verdict(found: &Findings, what: &str) -> Verdict {
        let report = report(found, Timestamp::UNIX_EPOCH);
        report
            .lines
            .iter()
            .find(|line| line.what == what)
            .unwrap()
            .verdict
    }

    const ALL: &[ResetType] = &[
        ResetType::On,
        ResetType::ForceOff,
        ResetType::GracefulShutdown,
    ];

    #[test]
    fn what_is_required_decides() {
        let once = &[Enabled::Once, Enabled::Disabled];
        let good = found(system(ALL, &[Target::Pxe, Target::Hdd], once));
        assert!(report(&good, Timestamp::UNIX_EPOCH).is_qualified());
        for (what, bad) in [
            ("power off", system(&[ResetType::On], &[Target::Pxe], once)),
            (
                "power on",
                system(&[ResetType::ForceOff], &[Target::Pxe], once),
            ),
            ("boot override", system(ALL, &[Target::Hdd], once)),
        ] {
            let bad = found(bad);
            assert_eq!(verdict(&bad, what), Verdict::Missing, "{what}");
            assert!(
                !report(&bad, Timestamp::UNIX_EPOCH).is_qualified(),
                "{what}"
            );
        }
    }

    #[test]
    fn limits_are_named_and_do_not_disqualify() {
        let silent = found(system(&[], &[], &[]));
        for what in ["power off", "power on", "boot override"] {
            assert_eq!(verdict(&silent, what), Verdict::Limited, "{what}");
        }
        let continuous = found(system(ALL, &[Target::Pxe], &[Enabled::Continuous]));
        assert_eq!(verdict(&continuous, "boot override"), Verdict::Limited);
        assert!(report(&continuous, Timestamp::UNIX_EPOCH).is_qualified());
        let mut crowded = found(system(ALL, &[Target::Pxe], &[Enabled::Once]));
        crowded.sessions = Some(6);
        crowded.certificate_ends = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(verdict(&crowded, "sessions"), Verdict::Limited);
        assert_eq!(verdict(&crowded, "TLS"), Verdict::Limited);
    }

    #[test]
    fn the_text_ends_with_the_result() {
        let good = found(system(ALL, &[Target::Pxe], &[Enabled::Once]));
        let text = report(&good, Timestamp::UNIX_EPOCH).to_string();
        assert!(
            text.starts_with("https://bmc: maker not told, Redfish 1.15.0, platform generic\n")
        );
        assert!(
            text.contains("  absent   event log          404\n"),
            "{text}"
        );
        assert!(text.ends_with("qualified: everything that operations need is there\n"));
    }
}
