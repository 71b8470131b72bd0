//! Platforms and their bugs: a platform is recognised once, each bug is one named function with
//! its evidence.
//!
//! Not a table of features: whatever a BMC announces correctly is read from what it announces.

use crate::model::ServiceRoot;

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

/// iLO refuses to disable the override while the target is `None`; a target has to be kept
/// (ironcore-dev/metal-operator pull request 998).
pub(crate) fn refuses_disabled_without_target(platform: Platform) -> bool {
    platform == Platform::Hpe
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn platform(root: &serde_json::Value) -> Platform {
        Platform::recognise(&ServiceRoot::parse(root))
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
