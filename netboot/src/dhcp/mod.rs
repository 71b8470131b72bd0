//! DHCP for machines we own: a pure core and a socket edge.
//!
//! The core is `bytes → BootRequest → decide → bytes and events`. The fixed part is read through
//! dhcproto's borrowed view after our own checks of length, cookie and hardware address; joining the
//! parts of options (RFC 3396), which dhcproto does only where they are neighbours, and writing are our own
//! (options in a chosen order, 82 last, byte-exact copies), and dhcproto reads it back in the tests.
//! Invariant: nothing but `server`, `socket` and `interface` touches a socket, a clock or a runtime.

pub mod agent;
pub mod arch;
mod boot_file;
pub mod decide;
pub mod interface;
mod joined;
mod pace;
pub mod proxy;
pub mod relay;
mod reply;
pub mod request;
mod sentinel;
pub mod server;
mod socket;

#[cfg(test)]
mod testing;

/// The DHCP server's port; relays listen on it too.
pub const SERVER_PORT: u16 = 67;
/// Where firmware asks a ProxyDHCP server for its file.
pub const PROXY_PORT: u16 = 4011;
/// Where clients listen.
pub const CLIENT_PORT: u16 = 68;

/// Option numbers (RFC 2132, 3046, 4578; IANA's registry).
pub(crate) mod option {
    pub(crate) const SUBNET_MASK: u8 = 1;
    pub(crate) const ROUTER: u8 = 3;
    pub(crate) const DNS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const DOMAIN_NAME: u8 = 15;
    pub(crate) const INTERFACE_MTU: u8 = 26;
    pub(crate) const BROADCAST: u8 = 28;
    pub(crate) const NTP: u8 = 42;
    pub(crate) const VENDOR_SPECIFIC: u8 = 43;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER_IDENTIFIER: u8 = 54;
    pub(crate) const PARAMETER_LIST: u8 = 55;
    pub(crate) const MESSAGE: u8 = 56;
    pub(crate) const MAX_MESSAGE_SIZE: u8 = 57;
    pub(crate) const RENEWAL: u8 = 58;
    pub(crate) const REBINDING: u8 = 59;
    pub(crate) const VENDOR_CLASS: u8 = 60;
    pub(crate) const CLIENT_ID: u8 = 61;
    pub(crate) const TFTP_SERVER: u8 = 66;
    pub(crate) const BOOT_FILE: u8 = 67;
    pub(crate) const RELAY_AGENT: u8 = 82;
    pub(crate) const CLIENT_ARCH: u8 = 93;
    pub(crate) const CLIENT_UUID: u8 = 97;
    pub(crate) const END: u8 = 255;
}
