//! Installing a machine: from the kernel command line to a disk that starts.
//!
//! `init` drives; `pipeline` is one installation against a [`host::Host`]; the other files are
//! one step or one pure decision each.

pub mod blocks;
pub mod claim;
pub mod cmdline;
pub mod decompress;
pub mod disks;
pub mod efi;
pub mod efivars;
pub mod error;
pub mod gpt;
pub mod host;
pub mod init;
pub mod machine;
pub mod module_index;
pub mod modules;
pub mod netlink;
pub mod network;
pub mod pipeline;
pub mod report;
pub mod rootfs;
pub mod seed;
pub mod stream;
pub mod target;
pub mod verify;
pub mod write;
