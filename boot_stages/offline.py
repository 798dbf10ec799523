"""Which modules of a plan an image can have done already, and which must wait for a machine's first boot."""

from __future__ import annotations

from boot_stages.actions import Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.foresight import Planned

# What each machine must do for itself, and why; a plan does not show it.
OF_EACH_MACHINE = {
    "seed_random": "randomness is each machine's own",
    "growpart": "it depends on the machine's disk",
    "resizefs": "it depends on the machine's disk",
    "disk_setup": "it depends on the machine's disks",
    "mounts": "it depends on the machine's disks",
    "set_hostname": "the name is each machine's own",
    "update_hostname": "the name is each machine's own",
    "update_etc_hosts": "the name is each machine's own",
    "ssh": "host keys are each machine's own",
    "set_passwords": "a password in an image is everybody's",
    "ssh_authkey_fingerprints": "it tells of a boot",
    "keys_to_console": "it tells of a boot",
    "final_message": "it tells of a boot",
    "phone_home": "it tells of a boot",
    "power_state_change": "it ends a boot",
    "install_hotplug": "it depends on the source of the machine",
}
# What prepares a boot, rather than the guest, writes there.
STATE = "/var/lib/cloud/"


def why_left(planned: Planned) -> str:
    """Why a module has to wait for the first boot; nothing when an image can have its effect already."""
    if planned.module in OF_EACH_MACHINE:
        return OF_EACH_MACHINE[planned.module]
    if planned.error or planned.faults:
        return planned.error or str(planned.faults[0])
    for action in planned.actions:
        if isinstance(action, Fail):
            return action.text
        if action.opaque:
            return f"its effect cannot be known: {action.summary()}"
        if str(getattr(action, "path", "")).startswith(STATE):
            return "it prepares what a boot does"
    return ""
