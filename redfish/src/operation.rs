//! What the client was doing, for error texts and bounded metric labels.
//!
//! Not the HTTP request: several requests may serve one operation.

use std::fmt;

/// Declares the operations with their metric label, their words, and whether they change anything.
macro_rules! operations {
    ( $( $name:ident: $label:literal, $words:literal, $kind:ident; )+ ) => {
        /// One thing a [`crate::Client`] does with a BMC.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation { $( $name, )+ }

        impl Operation {
            /// Stable label for metrics.
            pub fn label(self) -> &'static str {
                match self { $( Self::$name => $label, )+ }
            }

            /// Whether a request of this operation changes the machine or its BMC.
            pub fn is_write(self) -> bool {
                match self { $( Self::$name => operations!(@ $kind), )+ }
            }
        }

        impl fmt::Display for Operation {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $( Self::$name => $words, )+ })
            }
        }
    };
    (@ read) => { false };
    (@ write) => { true };
}

operations! {
    ReadCertificate: "read_certificate", "reading the certificate", read;
    ReadServiceRoot: "read_service_root", "reading the service root", read;
    Login: "login", "logging in", read;
    Logout: "logout", "logging out", read;
    ListSystems: "list_systems", "listing the systems", read;
    ReadSystem: "read_system", "reading the system", read;
    ReadManager: "read_manager", "reading the manager", read;
    ReadChassis: "read_chassis", "reading the chassis", read;
    ReadActionInfo: "read_action_info", "reading what an action accepts", read;
    ReadSettings: "read_settings", "reading the pending settings", read;
    ReadInventory: "read_inventory", "reading the inventory", read;
    ReadSensors: "read_sensors", "reading the sensors", read;
    ReadLog: "read_log", "reading the event log", read;
    ReadBootOptions: "read_boot_options", "reading the boot options", read;
    ReadBios: "read_bios", "reading the BIOS settings", read;
    ReadInterfaces: "read_interfaces", "reading the network interfaces", read;
    ReadMedia: "read_media", "reading the virtual media", read;
    ReadAccounts: "read_accounts", "reading the accounts", read;
    ReadSessions: "read_sessions", "reading the sessions", read;
    FollowTask: "follow_task", "following a task", read;
    Reset: "reset", "the reset action", write;
    SetBootOverride: "set_boot_override", "setting the boot override", write;
    ClearBootOverride: "clear_boot_override", "clearing the boot override", write;
    SetBootOrder: "set_boot_order", "setting the boot order", write;
    SetBios: "set_bios", "setting BIOS attributes", write;
    SetInterface: "set_interface", "configuring a network interface", write;
    SetIndicator: "set_indicator", "setting the indicator", write;
    InsertMedia: "insert_media", "inserting virtual media", write;
    EjectMedia: "eject_media", "ejecting virtual media", write;
    ChangePassword: "change_password", "changing the password", write;
}
