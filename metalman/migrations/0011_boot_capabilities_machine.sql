CREATE INDEX boot_capabilities_machine ON boot_capabilities (machine);
