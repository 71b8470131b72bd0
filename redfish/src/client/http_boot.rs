//! UEFI HTTP boot: the loader's URL and, where there is no DHCP, the interface's address.
//!
//! BMCs keep the URL in the boot override, in BIOS attributes, or nowhere. Both places are written
//! where both exist: some firmware reports the one and boots from the other.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{BiosSettings, Client};
use crate::bios_dialect::Dialect;
use crate::boot::{BootOverride, BootSourceOverrideTarget};
use crate::error::Error;
use crate::model::canonical_mac;
use crate::operation::Operation;

/// An IPv4 address for the interface that boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticAddress {
    /// Which interface.
    pub mac: String,
    pub address: Ipv4Addr,
    /// Length of the prefix, 0 to 32.
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
}

impl StaticAddress {
    /// The subnet mask of the prefix.
    pub fn mask(&self) -> Ipv4Addr {
        let bits = 32_u32.saturating_sub(u32::from(self.prefix));
        Ipv4Addr::from_bits(u32::MAX.checked_shl(bits).unwrap_or(0))
    }
}

/// By what way a setting reached the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpBootWay {
    /// `Boot.HttpBootUri`, or the `EthernetInterface` of the system.
    Standard,
    /// BIOS attributes, which take effect at the next boot.
    Bios,
}

/// What was configured for HTTP boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpBootReport {
    /// The override in force.
    pub boot: BootOverride,
    /// Every way the URL took; empty when none was wanted.
    pub url: Vec<HttpBootWay>,
    /// Every way the address took; empty when none was wanted.
    pub address: Vec<HttpBootWay>,
}

impl Client {
    /// Makes the next boot an UEFI HTTP boot of `url`, with a static address if one is given.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the BMC has no place for the URL or for the address, besides
    /// the errors of [`Client::set_boot_override`].
    pub async fn set_http_boot(
        &self,
        url: &str,
        address: Option<&StaticAddress>,
    ) -> Result<HttpBootReport, Error> {
        let operation = Operation::SetBootOverride;
        let bios = match self.bios().await {
            Ok(bios) => bios,
            Err(error) if super::ask::is_gap(&error) => None,
            Err(error) => return Err(error),
        };
        let dialect = bios
            .as_ref()
            .and_then(|bios| Some((Dialect::of(&bios.current)?, bios)));
        let address_ways = match address {
            Some(address) => self.set_address(address, dialect).await?,
            None => Vec::new(),
        };
        let mut url_ways = Vec::new();
        if let Some((dialect, bios)) = dialect {
            match self.set_bios(&dialect.url(&bios.current, url)).await {
                Ok(()) => url_ways.push(HttpBootWay::Bios),
                Err(error) if is_unsupported(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut wanted = BootOverride::once(BootSourceOverrideTarget::UefiHttp);
        if self.boot_settings(operation).await?.boot.reports_http_uri {
            wanted.http_boot_uri = Some(url.to_owned());
            url_ways.push(HttpBootWay::Standard);
        }
        if url_ways.is_empty() {
            return Err(Error::Unsupported {
                operation,
                status: 200,
                message: "neither HttpBootUri nor a known BIOS attribute takes a boot URL"
                    .to_owned(),
            });
        }
        let boot = self.set_boot_override(&wanted).await?;
        Ok(HttpBootReport {
            boot,
            url: url_ways,
            address: address_ways,
        })
    }

    async fn set_address(
        &self,
        address: &StaticAddress,
        dialect: Option<(Dialect, &BiosSettings)>,
    ) -> Result<Vec<HttpBootWay>, Error> {
        let mut ways = Vec::new();
        let refusal = match self.set_interface(address).await {
            Ok(()) => {
                ways.push(HttpBootWay::Standard);
                None
            }
            Err(error) if is_unsupported(&error) => Some(error),
            Err(error) => return Err(error),
        };
        if let Some(attributes) = dialect.and_then(|(dialect, _)| dialect.address(address)) {
            match self.set_bios(&attributes).await {
                Ok(()) => ways.push(HttpBootWay::Bios),
                Err(error) if is_unsupported(&error) => {}
                Err(error) => return Err(error),
            }
        }
        match refusal {
            Some(refusal) if ways.is_empty() => Err(refusal),
            Some(_) | None => Ok(ways),
        }
    }

    /// Gives the interface with this MAC a static address.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the system lists no interface with this MAC.
    pub async fn set_interface(&self, address: &StaticAddress) -> Result<(), Error> {
        let operation = Operation::SetInterface;
        let wanted = canonical_mac(&address.mac).ok_or_else(|| Error::InvalidConfig {
            what: format!("{:?} is no MAC address", address.mac),
        })?;
        let interfaces = self.interfaces().await?;
        let found = interfaces
            .iter()
            .find(|interface| !interface.path.is_empty() && interface.has_mac(&wanted))
            .ok_or_else(|| Error::NotFound {
                operation,
                path: "EthernetInterfaces".to_owned(),
                message: format!("no interface has the address {wanted}"),
            })?;
        let current = self.get(Operation::ReadInterfaces, &found.path).await?;
        let etag = current
            .etag()
            .or_else(|| crate::model::text(&current.body, "@odata.etag"));
        let mut fixed = json!({
            "Address": address.address,
            "SubnetMask": address.mask(),
        });
        if let (Some(gateway), Some(members)) = (address.gateway, fixed.as_object_mut()) {
            members.insert("Gateway".to_owned(), json!(gateway));
        }
        let mut body = json!({
            "DHCPv4": { "DHCPEnabled": false },
            "IPv4StaticAddresses": [fixed],
        });
        if let Some(members) = body.as_object_mut()
            && !address.name_servers.is_empty()
        {
            members.insert("StaticNameServers".to_owned(), json!(address.name_servers));
        }
        self.patch(operation, &found.path, etag.as_deref(), &body)
            .await
    }
}

fn is_unsupported(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. } | Error::Unsupported { .. } | Error::Rejected { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_those_of_the_prefix() {
        let mask = |prefix| {
            StaticAddress {
                mac: String::new(),
                address: Ipv4Addr::LOCALHOST,
                prefix,
                gateway: None,
                name_servers: Vec::new(),
            }
            .mask()
        };
        assert_eq!(mask(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(mask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(mask(32), Ipv4Addr::BROADCAST);
        assert_eq!(mask(99), Ipv4Addr::BROADCAST);
    }
}
