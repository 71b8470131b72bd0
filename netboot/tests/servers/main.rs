//! The DHCP and TFTP servers on real sockets.

#[cfg(test)]
mod flood;
#[cfg(test)]
mod link;
#[cfg(test)]
mod network;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tftp;
