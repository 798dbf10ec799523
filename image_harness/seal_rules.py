"""What must not be in an image, because every machine made of it would share it: one table, one row a rule.

Sources: systemd's "Safely Building Images" (machine-id, random seed, credential secret), cloud-init's
`clean`, virt-sysprep's operations. Patterns are relative to the root, as `pathlib.Path.glob` has them: `*`
matches names with a leading dot too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """Why something must go."""

    IDENTITY = "identity"
    SECRET = "secret"  # noqa: S105 -- a word, not a password
    ACCESS = "access"
    STATE = "state"
    TRACE = "trace"
    CACHE = "cache"


class Remedy(Enum):
    """What sealing does about it."""

    REMOVE = "remove"
    EMPTY = "empty"
    UNSET_PASSWORD = "unset the password"  # noqa: S105 -- a word, not a password
    RESET_MACHINE_ID = "make it empty"


@dataclass(frozen=True)
class Rule:
    """Files that must not be there, or not with content. `spared`: names below the pattern that may stay."""

    name: str
    kind: Kind
    patterns: tuple[str, ...]
    what: str
    remedy: Remedy = Remedy.REMOVE
    spared: frozenset[str] = frozenset()


_HOMES = ("root", "home/*")


def _in_homes(*names: str) -> tuple[str, ...]:
    return tuple(f"{home}/{name}" for home in _HOMES for name in names)


RULES = (
    Rule(
        "machine-id", Kind.IDENTITY, ("etc/machine-id",),
        "machines would share their identity, and DHCP addresses with it", Remedy.RESET_MACHINE_ID,
    ),
    # A link to /etc/machine-id, as Debian's dbus makes it, is none of its own.
    Rule("dbus-machine-id", Kind.IDENTITY, ("var/lib/dbus/machine-id",), "a second copy of the identity"),
    Rule(
        "ssh-host-keys", Kind.SECRET, ("etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub"),
        "whoever has the image can pose as every machine made of it",
    ),
    Rule(
        "random-seeds", Kind.SECRET,
        ("var/lib/systemd/random-seed", "var/lib/urandom/random-seed", "var/lib/random-seed",
         "boot/*/random-seed", "etc/random-seed"),
        "machines would start from the same randomness",
    ),
    Rule(
        "credential-secret", Kind.SECRET, ("var/lib/systemd/credential.secret",),
        "machines would encrypt with the same key",
    ),
    Rule(
        "network-secrets", Kind.SECRET,
        ("var/lib/NetworkManager/secret_key", "etc/NetworkManager/system-connections/*"),
        "passwords of networks, and the key of stable addresses",
    ),
    Rule(
        "leases", Kind.IDENTITY,
        ("var/lib/dhcp/*.lease*", "var/lib/dhclient/*", "var/lib/dhcpcd/*", "var/lib/NetworkManager/*.lease",
         "var/lib/NetworkManager/timestamps", "var/lib/systemd/network/*"),
        "addresses that another machine was given",
    ),
    Rule(
        "interface-names", Kind.STATE,
        ("etc/udev/rules.d/70-persistent-net.rules", "etc/udev/rules.d/75-persistent-net-generator.rules"),
        "network cards of another machine",
    ),
    Rule(
        "cloud-state", Kind.STATE, ("var/lib/cloud/*",),
        "instances, semaphores and data of a boot: the agent would take a new machine for the old one",
        # Scripts and seeds are there before any boot; a seed is what an image brings along on purpose.
        spared=frozenset({"scripts", "seed", "handlers"}),
    ),
    Rule(
        "cloud-settings", Kind.STATE,
        ("etc/netplan/50-cloud-init.yaml", "etc/network/interfaces.d/50-cloud-init",
         "etc/systemd/network/10-cloud-init-*", "etc/NetworkManager/conf.d/99-cloud-init.conf",
         "etc/sudoers.d/90-cloud-init-users", "etc/ssh/sshd_config.d/50-cloud-init.conf"),
        "what the agent wrote for another machine",
    ),
    Rule(
        "authorized-keys", Kind.ACCESS, _in_homes(".ssh/authorized_keys", ".ssh/authorized_keys2"),
        "whoever has the key can log in to every machine made of the image",
    ),
    Rule(
        "private-keys", Kind.SECRET,
        _in_homes(".ssh/id_*", ".ssh/known_hosts", ".ssh/known_hosts.old", ".ssh/config", ".gnupg",
                  ".aws", ".netrc", ".git-credentials", ".docker/config.json", ".config/openstack"),
        "keys and accounts of whoever built the image",
    ),
    Rule(
        "passwords", Kind.ACCESS,
        # With the copies from before the last change, which the account tools keep.
        ("etc/shadow", "etc/passwd", "etc/gshadow", "etc/shadow-", "etc/passwd-", "etc/gshadow-"),
        "whoever knows or cracks it can log in to every machine made of the image", Remedy.UNSET_PASSWORD,
    ),
    Rule(
        "histories", Kind.TRACE,
        _in_homes(".bash_history", ".ash_history", ".zsh_history", ".sh_history", ".python_history",
                  ".lesshst", ".viminfo", ".wget-hsts", ".mysql_history", ".psql_history", ".sqlite_history"),
        "what was typed while the image was made, passwords among it",
    ),
    Rule(
        "logs", Kind.TRACE,
        ("var/log/**/*.log", "var/log/**/*.log.*", "var/log/**/*.gz", "var/log/**/*.old", "var/log/journal/*",
         "var/log/syslog*", "var/log/messages*", "var/log/secure*", "var/log/dmesg*", "var/log/cloud-init*",
         "var/log/installer", "var/log/anaconda", "var/log/sa/*", "var/log/audit/*"),
        "what another machine did",
    ),
    # They must exist for some programs to count logins at all.
    Rule(
        "logins", Kind.TRACE, ("var/log/wtmp", "var/log/btmp", "var/log/lastlog", "var/log/faillog"),
        "who logged in to another machine", Remedy.EMPTY,
    ),
    Rule(
        "mail", Kind.TRACE,
        ("var/mail/*", "var/spool/mail/*", "var/spool/cron/crontabs/*", "var/spool/at/[a-z]*"),
        "mail and jobs of another machine",
    ),
    Rule(
        "crashes", Kind.TRACE, ("var/crash/*", "var/lib/systemd/coredump/*"),
        "memory of programs, secrets in it",
    ),
    Rule("temporary", Kind.TRACE, ("tmp/*", "var/tmp/*", "run/*"), "leftovers"),
    Rule(
        "package-caches", Kind.CACHE,
        ("var/cache/apt/archives/*.deb", "var/cache/apt/archives/partial/*", "var/cache/apt/*.bin",
         "var/lib/apt/lists/*", "var/cache/dnf/*", "var/cache/yum/*", "var/cache/apk/*",
         "var/cache/zypp/packages/*"),
        "old package lists and archives: space, and no use",
        spared=frozenset({"lock", "partial", "auxfiles"}),
    ),
)  # fmt: skip
