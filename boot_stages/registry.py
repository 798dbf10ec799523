"""Every config module, in one table: frequency, keys, activation, distributions.

The table is what a boot reads to decide whether a module is due; the module's own file (its `Config` and its
`plan`) is imported only when it is. A test holds `keys` equal to what the module's Config declares, finds a
file that is not in the table, and a row without a file. Source: guest-agent.md 3.2.
"""

from __future__ import annotations

from boot_stages.module import ALWAYS, ONCE, PER_INSTANCE
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from boot_stages.distros import Distro
    from boot_stages.facts import Facts
    from boot_stages.module import Module

ALPINE = ("alpine",)
DEBIAN = ("debian",)
REDHAT = ("redhat",)
UBUNTU = ("ubuntu",)


class Entry(Value):
    """One module: the top-level keys it reads, and which of them must be there for it to run at all.

    `activated_by` empty means that it always runs. `families` names families of distributions, or single
    ones; empty means every one. `works_with` says what a module without keys needs to have anything to do:
    a path (a directory must not be empty), `instance:PATH`, `program:NAME` or `cloud:FIELD`; () that it has
    nothing to do then, None that only its plan knows. `old_keys` are read, too,
    but no schema knows them any more.
    """

    name: str
    frequency: str = PER_INSTANCE
    keys: tuple[str, ...] = ()
    activated_by: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    works_with: tuple[str, ...] | None = None
    old_keys: tuple[str, ...] = ()

    def is_idle(self, config: Mapping[str, object], facts: Facts) -> bool:
        """Whether there is nothing to do for it, so that its file need not be imported."""
        if self.works_with is None or any(key in config for key in self.keys):
            return False
        return not any(_is_there(each, facts) for each in self.works_with)

    def why_idle(self) -> str:
        """What is missing for it to have anything to do, for the user."""
        missing = ["none of its keys is set"] if self.keys else []
        missing += [_missing(each) for each in self.works_with or ()]
        return f"nothing to do: {' and '.join(missing)}"

    def is_for(self, distro: Distro, unverified: object = ()) -> bool:
        """Whether it runs on this distribution; `unverified` lists those that run on all."""
        if not self.families or distro.family in self.families or distro.name in self.families:
            return True
        return isinstance(unverified, (list, tuple)) and self.name in unverified

    def load(self) -> Module:
        """Import the module's file and give its MODULE."""
        # `importlib` is four modules more, for the same.
        module: Module = __import__(f"boot_stages.modules.{self.name}", fromlist=["MODULE"]).MODULE
        return module


def _missing(need: str) -> str:
    kind, colon, name = need.partition(":")
    if not colon:
        return f"there is nothing in {need}"
    if kind == "instance":
        return f"the instance has no {name}"
    if kind == "program":
        return f"{name} is not installed"
    return f"the cloud gives no {name.replace('_', ' ')}"


def _is_there(need: str, facts: Facts) -> bool:
    kind, colon, name = need.partition(":")
    if not colon:
        return bool(facts.names_in(need)) if facts.is_directory(need) else facts.exists(need)
    if kind == "instance":
        return bool(facts.names_in(f"{facts.instance_directory}/{name}"))
    if kind == "program":
        return facts.which(name) is not None
    return bool(getattr(facts.cloud, name))


class Later(Entry):
    """A module that is known and not supported: its keys stand in `later.py`."""

    def load(self) -> Module:
        """The module that says so."""
        from boot_stages.later import later_module

        return later_module(self.name)


def _acts(name: str, *keys: str, frequency: str = PER_INSTANCE, families: tuple[str, ...] = ()) -> Entry:
    """A module that runs only when one of its keys is in the config."""
    return Entry(name, frequency, keys, keys, families)


def _later(name: str, *keys: str, frequency: str = PER_INSTANCE, families: tuple[str, ...] = ()) -> Entry:
    return Later(name, frequency, keys, keys, families)


_NAMES = ("preserve_hostname", "prefer_fqdn_over_hostname", "create_hostname_file")

MODULES: tuple[Entry, ...] = (
    Entry("seed_random", keys=("random_seed",), works_with=("cloud:random_seed",)),
    _acts("bootcmd", "bootcmd", frequency=ALWAYS),
    _acts("write_files", "write_files"),
    Entry("growpart", ALWAYS, ("growpart",), works_with=("program:growpart", "program:gpart")),
    Entry("resizefs", ALWAYS, ("resize_rootfs",)),
    Entry(
        "disk_setup", PER_INSTANCE, ("device_aliases", "disk_setup", "fs_setup"), ("disk_setup", "fs_setup")
    ),
    Entry("mounts", keys=("mounts", "mount_default_fields", "swap"), works_with=("cloud:device_names",)),
    Entry("set_hostname", keys=("hostname", "fqdn", *_NAMES)),
    Entry("update_hostname", ALWAYS, ("hostname", "fqdn", *_NAMES)),
    Entry("update_etc_hosts", ALWAYS, ("manage_etc_hosts", "fqdn", "hostname"), ("manage_etc_hosts",)),
    Entry(
        "resolv_conf",
        PER_INSTANCE,
        ("manage_resolv_conf", "resolv_conf"),
        ("manage_resolv_conf",),
        (*ALPINE, *REDHAT),
    ),
    _acts("ca_certs", "ca_certs", "ca-certs"),
    _acts("rsyslog", "rsyslog"),
    Entry("users_groups", keys=("groups", "users", "user")),
    Entry(
        "ssh",
        keys=(
            "ssh_keys",
            "ssh_authorized_keys",
            "ssh_deletekeys",
            "ssh_genkeytypes",
            "disable_root",
            "disable_root_opts",
            "allow_public_ssh_keys",
            "ssh_quiet_keygen",
            "ssh_publish_hostkeys",
        ),
    ),
    Entry("set_passwords", keys=("ssh_pwauth", "chpasswd", "password"), works_with=()),
    _acts("wireguard", "wireguard", families=UBUNTU),
    _acts("snap", "snap", families=UBUNTU),
    Entry("ssh_import_id", keys=("ssh_import_id",), families=(*ALPINE, *DEBIAN)),
    _acts("keyboard", "keyboard"),
    Entry("locale", keys=("locale", "locale_configfile")),
    _acts("apk_configure", "apk_repos", families=ALPINE),
    _acts("grub_dpkg", "grub_dpkg", "grub-dpkg", families=DEBIAN),
    _acts("apt_pipelining", "apt_pipelining", families=DEBIAN),
    Entry(
        "apt_configure",
        keys=("apt",),
        families=DEBIAN,
        works_with=("program:apt-get",),
        old_keys=(
            "add_apt_repo_match",
            "apt_custom_sources_list",
            "apt_ftp_proxy",
            "apt_http_proxy",
            "apt_https_proxy",
            "apt_preserve_sources_list",
            "apt_proxy",
            "apt_sources",
            "apt_mirror",
            "apt_mirror_search",
            "apt_mirror_search_dns",
        ),
    ),
    Entry("yum_add_repo", PER_INSTANCE, ("yum_repo_dir", "yum_repos"), ("yum_repos",), REDHAT),
    _acts("ntp", "ntp"),
    _acts("timezone", "timezone"),
    _acts("disable_ec2_metadata", "disable_ec2_metadata", frequency=ALWAYS),
    _acts("runcmd", "runcmd"),
    _acts(
        "package_update_upgrade_install",
        "packages",
        "package_update",
        "apt_update",
        "package_upgrade",
        "apt_upgrade",
        "package_reboot_if_required",
        "apt_reboot_if_required",
    ),
    _acts("write_files_deferred", "write_files"),
    _acts("ansible", "ansible"),
    Entry("scripts_vendor", keys=("vendor_data",), works_with=("instance:scripts/vendor",)),
    Entry("scripts_per_once", ONCE, works_with=("/var/lib/cloud/scripts/per-once",)),
    Entry("scripts_per_boot", ALWAYS, works_with=("/var/lib/cloud/scripts/per-boot",)),
    Entry("scripts_per_instance", works_with=("/var/lib/cloud/scripts/per-instance",)),
    Entry("scripts_user", works_with=("instance:scripts",)),
    Entry("ssh_authkey_fingerprints", keys=("no_ssh_fingerprints", "authkey_hash")),
    Entry(
        "keys_to_console",
        keys=("ssh", "ssh_key_console_blacklist", "ssh_fp_console_blacklist"),
        works_with=("/etc/ssh",),
    ),
    Entry(
        "install_hotplug",
        keys=("updates",),
        works_with=("/etc/udev/rules.d/90-cloud-init-hook-hotplug.rules",),
    ),
    _acts("phone_home", "phone_home"),
    Entry("final_message", ALWAYS, ("final_message",)),
    _acts("power_state_change", "power_state"),
    _later("ubuntu_autoinstall", "autoinstall", frequency=ONCE, families=UBUNTU),
    _later("ubuntu_pro", "ubuntu_pro", "ubuntu_advantage", families=UBUNTU),
    _later("rh_subscription", "rh_subscription", families=REDHAT),
    _later("spacewalk", "spacewalk", families=REDHAT),
    _later("zypper_add_repo", "zypper", frequency=ALWAYS),
    _later("raspberry_pi", "rpi", families=("raspberry-pi-os",)),
    _later("byobu", "byobu_by_default", families=DEBIAN),
    _later("fan", "fan", families=UBUNTU),
    _later("landscape", "landscape", families=UBUNTU),
    _later("lxd", "lxd", families=UBUNTU),
    _later("ubuntu_drivers", "drivers", families=UBUNTU),
    _later("puppet", "puppet"),
    _later("mcollective", "mcollective"),
    _later("salt_minion", "salt_minion"),
    _later("chef", "chef", frequency=ALWAYS),
    _later("reset_rmc"),
)

RENAMED = {"ubuntu_advantage": "ubuntu_pro"}
# Modules that are gone; lists of old images still name them.
REMOVED = ("emit_upstart", "migrator", "refresh_rmc_and_interface", "rightscale_userdata")
# Top-level keys that the agent itself reads, not a module.
BASE_KEYS = (
    "cloud_init_modules",
    "cloud_config_modules",
    "cloud_final_modules",
    "launch-index",
    "merge_how",
    "merge_type",
    "migrate",
    "output",
    "reporting",
    "system_info",
    "version",
)

# Read by the agent itself, unknown to cloud-init's schema.
AGENT_KEYS = ("rerun_interrupted", "runcmd_status", "unverified_modules")

BY_NAME = {entry.name: entry for entry in MODULES}


def entry(name: str) -> Entry | None:
    """The module a stage list names: dashes equal underscores, `cc_` and `.py` are optional."""
    return BY_NAME.get(plain_name(name))


def plain_name(name: str) -> str:
    """The name as the table spells it."""
    plain = name.replace("-", "_").removeprefix("cc_").removesuffix(".py")
    return RENAMED.get(plain, plain)


def known_keys() -> frozenset[str]:
    """Every top-level key that somebody reads. Imports nothing."""
    return frozenset(BASE_KEYS).union(*(each.keys for each in MODULES))


class Unread(Value):
    """A key of a config that nobody reads in this guest, and why."""

    key: str
    why: str


def unread(
    keys: Iterable[str], listed: Iterable[str], distro: Distro, unverified: object = ()
) -> tuple[Unread, ...]:
    """The keys that no module of these lists will read on this distribution, in order.

    A key is unread because nobody knows it, because its module is in none of the lists, or because the module
    is for other distributions.
    """
    names = {plain_name(each) for each in listed}
    found = []
    for key in sorted(set(keys).difference(BASE_KEYS, AGENT_KEYS)):
        own = [each for each in MODULES if key in (*each.keys, *each.old_keys)]
        here = [each for each in own if each.name in names]
        if any(each.is_for(distro, unverified) for each in here):
            continue
        found.append(Unread(key, _why_unread(key, own, here)))
    return tuple(found)


def _why_unread(key: str, own: list[Entry], here: list[Entry]) -> str:
    if here:
        return f"its module {here[0].name} is for {', '.join(here[0].families)}"
    if own:
        return f"its module {own[0].name} is in none of the lists of modules"
    near = nearest_key(key)
    return f"no module knows it. Did you mean {near}?" if near else "no module knows it"


def nearest_key(key: str) -> str:
    """The known key that was probably meant, or ""."""
    import difflib

    return next(iter(difflib.get_close_matches(key, sorted(known_keys()), n=1, cutoff=0.7)), "")
