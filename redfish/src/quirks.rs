//! Platforms and their bugs: a platform is recognised once, each bug is one named function with
//! its evidence.
//!
//! Not a table of features: whatever a BMC announces correctly is read from what it announces.

use crate::model::{Messages, ServiceRoot};

/// The firmware family behind a Redfish service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    Ami,
    Dell,
    Hpe,
    Lenovo,
    OpenBmc,
    Supermicro,
    /// Not recognised; no bug is assumed.
    Generic,
}

impl Platform {
    /// Recognises the family by what the service root says. `Vendor` is often absent, so the OEM
    /// section and `Product` are asked as well.
    pub fn recognise(root: &ServiceRoot) -> Self {
        let told = root.vendor.iter().chain(&root.oem).chain(&root.product);
        for text in told {
            let text = text.to_ascii_lowercase();
            let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
            if let Some(platform) = words.find_map(Self::of_word) {
                return platform;
            }
        }
        Self::Generic
    }

    fn of_word(word: &str) -> Option<Self> {
        match word {
            "ami" => Some(Self::Ami),
            "dell" | "idrac" => Some(Self::Dell),
            "hpe" | "hp" | "ilo" => Some(Self::Hpe),
            "lenovo" => Some(Self::Lenovo),
            "openbmc" | "nvidia" => Some(Self::OpenBmc),
            "supermicro" => Some(Self::Supermicro),
            _ => None,
        }
    }

    /// Stable label for reports and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ami => "ami",
            Self::Dell => "dell",
            Self::Hpe => "hpe",
            Self::Lenovo => "lenovo",
            Self::OpenBmc => "openbmc",
            Self::Supermicro => "supermicro",
            Self::Generic => "generic",
        }
    }
}

impl Platform {
    /// What is done differently for this family, in words for an operator; empty where its
    /// announcements are taken as they are.
    pub fn quirks(self) -> Vec<&'static str> {
        let all = [
            (
                refuses_disabled_without_target(self),
                "the boot override is disabled with its target kept",
            ),
            (
                idle_indicator_is_lit(self),
                "a lit indicator is an idle one; it blinks to be found",
            ),
            (
                wants_bare_insert(self),
                "virtual media are inserted with nothing but the image",
            ),
            (
                console_page(self) != "/",
                "the console has a page of its own",
            ),
        ];
        all.into_iter()
            .filter_map(|(holds, words)| holds.then_some(words))
            .collect()
    }
}

/// iLO refuses to disable the override while the target is `None`; a target has to be kept
/// (ironcore-dev/metal-operator pull request 998).
pub(crate) fn refuses_disabled_without_target(platform: Platform) -> bool {
    platform == Platform::Hpe
}

/// Whether a refused login means user or password, although its status is not 401. iLO says 400 or
/// 403 with this key (HPE message registry Base, `UnauthorizedLoginAttempt`; the same key is
/// tested for by HewlettPackard/python-ilorest-library).
pub(crate) fn is_refused_login(status: u16, messages: &Messages) -> bool {
    let is_limit = messages.has("SessionLimitExceeded") || messages.has("RAC0218");
    match status {
        401 => !is_limit && messages.account.is_none(),
        400 | 403 => messages.has("UnauthorizedLoginAttempt"),
        _ => false,
    }
}

/// All sessions are taken; iDRAC says it with a key of its own
/// (bb-Ricardo/check_redfish pull request 198).
pub(crate) fn is_session_limit(messages: &Messages) -> bool {
    messages.has("SessionLimitExceeded") || messages.has("RAC0218")
}

/// While a machine is not to be found, iDRAC shows its indicator as `Lit`: `Blinking` is the one
/// that stands out (recorded PowerEdge R750, whose idle IndicatorLED is `Lit`).
pub(crate) fn idle_indicator_is_lit(platform: Platform) -> bool {
    platform == Platform::Dell
}

/// InsertMedia with anything but the image is refused, and ImageName stays after an eject
/// (ansible-collections/community.general issue 6969 and pull requests 4839 and 12537). The bare
/// body is tried second everywhere, and first here.
pub(crate) fn wants_bare_insert(platform: Platform) -> bool {
    platform == Platform::Supermicro
}

/// A resource that exists answers 404 until its collection was read (Lenovo;
/// dsx-ai-factory/infra-controller issues 5178 and 5201). Reading the parent is harmless, so it is
/// done everywhere.
pub(crate) fn parent_to_read_first(path: &str) -> Option<&str> {
    let (parent, last) = path.trim_end_matches('/').rsplit_once('/')?;
    (!last.is_empty() && parent.matches('/').count() >= 3).then_some(parent)
}

/// Where the vendor documents its remote console in the web interface; the standard has no such
/// link. iDRAC9 User's Guide, "Virtual Console"; OpenBMC webui-vue, route `operations/kvm`.
pub(crate) fn console_page(platform: Platform) -> &'static str {
    match platform {
        Platform::Dell => "/console",
        Platform::OpenBmc => "/#/operations/kvm",
        Platform::Ami
        | Platform::Hpe
        | Platform::Lenovo
        | Platform::Supermicro
        | Platform::Generic => "/",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn platform(root: &serde_json::Value) -> Platform {
        Platform::recognise(&ServiceRoot::parse(root))
    }

    #[test]
    fn refused_login_is_told_from_a_full_session_table() {
        let said = |id: &str| {
            Messages::parse(&json!({"error": {"@Message.ExtendedInfo": [{"MessageId": id}]}}))
        };
        assert!(is_refused_login(401, &said("Base.1.8.Whatever")));
        assert!(!is_refused_login(401, &said("IDRAC.2.8.RAC0218")));
        assert!(is_refused_login(
            400,
            &said("iLO.2.14.UnauthorizedLoginAttempt")
        ));
        assert!(!is_refused_login(400, &said("Base.1.8.PropertyMissing")));
    }

    #[test]
    fn only_members_of_collections_have_a_parent_to_read() {
        assert_eq!(
            parent_to_read_first("/redfish/v1/Systems/1/BootOptions/"),
            Some("/redfish/v1/Systems/1")
        );
        assert_eq!(
            parent_to_read_first("/redfish/v1/Systems/1"),
            Some("/redfish/v1/Systems")
        );
        assert_eq!(parent_to_read_first("/redfish/v1/Systems"), None);
        assert_eq!(parent_to_read_first("/"), None);
    }

    #[test]
    fn platforms_are_recognised_without_a_vendor() {
        assert_eq!(
            platform(&json!({"Oem": {"Supermicro": {}}})),
            Platform::Supermicro
        );
        assert_eq!(
            platform(&json!({"Product": "AMI Redfish Server"})),
            Platform::Ami
        );
        assert_eq!(
            platform(&json!({"Product": "Integrated Dell Remote Access Controller"})),
            Platform::Dell
        );
        assert_eq!(platform(&json!({"Vendor": "HPE"})), Platform::Hpe);
        assert_eq!(
            platform(&json!({"Vendor": "Amiable Systems"})),
            Platform::Generic
        );
        assert_eq!(platform(&json!({})), Platform::Generic);
    }
}
