"""Ironic's client against a Redfish service: power, boot override, inventory.  sushy_client.py URL USER PASSWORD-FILE

Prints what it saw, one line per step; ends with 1 when something is not as it should be.
"""

import sys
import time
import warnings

import sushy
import urllib3

warnings.filterwarnings("ignore")
urllib3.disable_warnings()


def expect(what, seen, wanted):
    print(f"{what}: {seen}")
    if seen != wanted:
        sys.exit(f"{what} is {seen}, expected {wanted}")


def wait_power(system, wanted):
    deadline = time.monotonic() + 30
    while system.power_state != wanted:
        if time.monotonic() > deadline:
            sys.exit(f"power is {system.power_state}, expected {wanted}")
        time.sleep(0.1)
        system.refresh(force=True)
    print(f"power: {system.power_state.value}")


def main(url, user, password_file):
    with open(password_file, encoding="utf-8") as file:
        password = file.read().strip()
    auth = sushy.auth.SessionOrBasicAuth(user, password)
    service = sushy.Sushy(url, auth=auth, verify=False)
    systems = [s for s in service.get_system_collection().get_members() if s.boot and s.boot.target]
    expect("systems with a boot override", len(systems), 1)
    system = systems[0]
    print("system:", system.identity, system.manufacturer, system.serial_number)
    print("resets:", sorted(r.value for r in system.get_allowed_reset_system_values()))

    system.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_PXE, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE)
    system.refresh(force=True)
    expect("override", (system.boot.target, system.boot.enabled), (sushy.BOOT_SOURCE_TARGET_PXE, sushy.BOOT_SOURCE_ENABLED_ONCE))
    system.reset_system(sushy.RESET_ON)
    wait_power(system, sushy.SYSTEM_POWER_STATE_ON)
    expect("override after the boot", system.boot.enabled, sushy.BOOT_SOURCE_ENABLED_DISABLED)
    system.reset_system(sushy.RESET_FORCE_RESTART)
    wait_power(system, sushy.SYSTEM_POWER_STATE_ON)
    system.reset_system(sushy.RESET_FORCE_OFF)
    wait_power(system, sushy.SYSTEM_POWER_STATE_OFF)

    macs = sorted(system.ethernet_interfaces.summary)
    print("MACs:", macs)
    manager = system.managers[0]
    print("manager:", manager.identity, manager.firmware_version)
    drives = [drive for storage in system.storage.get_members() for drive in storage.drives]
    print("drives:", [drive.serial_number for drive in drives])
    if not macs or not drives or system.memory_summary.size_gib < 1 or system.processors.summary.count < 1:
        sys.exit("the inventory is not whole")
    auth.close()


main(*sys.argv[1:])
