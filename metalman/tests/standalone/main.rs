//! The embedded API from outside: as kube sees it and as kubectl sees it.

#[cfg(test)]
mod access;
#[cfg(test)]
mod collector;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod kube_client;
#[cfg(test)]
mod kubectl;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod transfer;
