"""The stage table: which stage runs which list of modules, and the lists an image has when it names none.

Start reading here: a boot is these rows from top to bottom. Source: guest-agent.md 1.1, 3.2.
"""

from __future__ import annotations

from boot_stages.value import Value


class Stage(Value):
    """One stage: its key in status.json, the name of its events, its words for the console, its list key."""

    key: str
    event: str
    console: str
    module_list: str


LOCAL = Stage("init-local", "init-local", "init-local", "cloud_init_modules")
NETWORK = Stage("init", "init-network", "init", "cloud_init_modules")
CONFIG = Stage("modules-config", "modules-config", "modules:config", "cloud_config_modules")
FINAL = Stage("modules-final", "modules-final", "modules:final", "cloud_final_modules")
STAGES = (LOCAL, NETWORK, CONFIG, FINAL)

# The built-in order of each list; an image's cloud.cfg usually names its own.
DEFAULT_MODULES: dict[str, tuple[str, ...]] = {
    "cloud_init_modules": (
        "seed_random",
        "bootcmd",
        "write_files",
        "growpart",
        "resizefs",
        "disk_setup",
        "mounts",
        "set_hostname",
        "update_hostname",
        "update_etc_hosts",
        "resolv_conf",
        "ca_certs",
        "rsyslog",
        "users_groups",
        "ssh",
        "set_passwords",
    ),
    "cloud_config_modules": (
        "wireguard",
        "snap",
        "ubuntu_autoinstall",
        "ssh_import_id",
        "keyboard",
        "locale",
        "apk_configure",
        "grub_dpkg",
        "apt_pipelining",
        "apt_configure",
        "ubuntu_pro",
        "rh_subscription",
        "spacewalk",
        "yum_add_repo",
        "zypper_add_repo",
        "ntp",
        "timezone",
        "raspberry_pi",
        "disable_ec2_metadata",
        "runcmd",
        "byobu",
    ),
    "cloud_final_modules": (
        "package_update_upgrade_install",
        "fan",
        "landscape",
        "lxd",
        "ubuntu_drivers",
        "write_files_deferred",
        "puppet",
        "chef",
        "ansible",
        "mcollective",
        "salt_minion",
        "reset_rmc",
        "scripts_vendor",
        "scripts_per_once",
        "scripts_per_boot",
        "scripts_per_instance",
        "scripts_user",
        "ssh_authkey_fingerprints",
        "keys_to_console",
        "install_hotplug",
        "phone_home",
        "final_message",
        "power_state_change",
    ),
}
