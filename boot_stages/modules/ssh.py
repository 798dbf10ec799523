"""`ssh`: the guest's host keys, and the keys that may log in as the default user and as root.

Source: guest-agent.md 3.3; GA-W11.
"""

from __future__ import annotations

from boot_stages.accounts import users_of
from boot_stages.actions import WARN, Remove, RunCommand, SetMode, WriteFile, warn
from boot_stages.module import Module
from boot_stages.schema import BOOL, TEXT, Keys, Kind, key, list_of, map_of, record, text, with_schema
from boot_stages.ssh_keys import DISABLE_OPTIONS, authorize, disable_options, with_options
from boot_stages.sshd_config import add_lines
from boot_stages.value import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

DIRECTORY = "/etc/ssh"
TYPES = ("rsa", "ecdsa", "ed25519")
PARTS = {"private": ("", 0o600), "public": (".pub", 0o644), "certificate": ("-cert.pub", 0o644)}
_TYPE = with_schema(TEXT, {"type": "string", "enum": ["ecdsa", "ed25519", "rsa"]})
_HOST_KEYS: Kind[Mapping[str, str]] = Kind(
    {
        "type": "object",
        "patternProperties": {"^(ecdsa|ed25519|rsa)_(public|private|certificate)$": {"type": "string"}},
        "additionalProperties": False,
    },
    map_of(TEXT).read,
)


class PublishKeys(Keys):
    """The map below `ssh_publish_hostkeys`; no source in scope takes host keys, so it has no effect."""

    enabled: bool = key("Give the host keys to the cloud, where it takes them.", BOOL, default=True)
    blacklist: tuple[str, ...] = key("Key types that are not given.", list_of(TEXT), default=())


class Config(Keys):
    """Keys of `ssh`."""

    ssh_keys: Mapping[str, str] = key(
        "Host keys: rsa_private, rsa_public, rsa_certificate, ...", _HOST_KEYS, default={}
    )
    ssh_authorized_keys: tuple[str, ...] = key(
        "Keys that may log in as the default user.", list_of(TEXT, minItems=1), default=()
    )
    ssh_deletekeys: bool = key("Delete the host keys that the image has.", BOOL, default=True)
    ssh_genkeytypes: tuple[str, ...] = key(
        "Types of host keys to make.", list_of(_TYPE, minItems=1), default=TYPES
    )
    disable_root: bool = key("Send logins as root to the default user.", BOOL, default=True)
    disable_root_opts: str = key(
        "The options of root's keys while it is disabled.", text(), default=DISABLE_OPTIONS
    )
    allow_public_ssh_keys: bool = key("Let the cloud's keys log in.", BOOL, default=True)
    ssh_quiet_keygen: bool = key("Do not show what ssh-keygen prints.", BOOL, default=False)
    ssh_publish_hostkeys: PublishKeys = key(
        "Host keys for the cloud.", record(PublishKeys), default=PublishKeys()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Old host keys away, new ones given or made, then the keys for login."""
    old = _old_keys(facts) if config.ssh_deletekeys else ()
    host_keys = _given(config.ssh_keys, facts) if config.ssh_keys else _generated(config, facts)
    removed = tuple(Remove(path, on_failure=WARN) for path in old)
    return (*removed, *host_keys, *_logins(config, facts))


def _old_keys(facts: Facts) -> tuple[str, ...]:
    names = facts.names_in(DIRECTORY)
    return tuple(f"{DIRECTORY}/{name}" for name in names if name.startswith("ssh_host_") and "key" in name)


def _given(keys: Mapping[str, str], facts: Facts) -> tuple[Action, ...]:
    actions: list[Action] = []
    certificates: list[str] = []
    for name, content in keys.items():
        kind, _, part = name.partition("_")
        if kind not in TYPES or part not in PARTS:
            actions.append(
                warn(f"ssh_keys.{name} is not known. Use TYPE_private, TYPE_public, TYPE_certificate")
            )
            continue
        suffix, mode = PARTS[part]
        path = f"{DIRECTORY}/ssh_host_{kind}_key{suffix}"
        body = content if content.endswith("\n") else f"{content}\n"
        actions.append(WriteFile(path, Secret(body) if part == "private" else body.encode(), mode))
        if part == "certificate":
            certificates.append(f"HostCertificate {path}")
    for kind in TYPES:
        if f"{kind}_private" in keys and f"{kind}_public" not in keys:
            path = f"{DIRECTORY}/ssh_host_{kind}_key"
            argv = ("ssh-keygen", "-yf", path)
            actions.append(RunCommand(argv, output_to=f"{path}.pub", on_failure=WARN))
    return (*actions, *add_lines(tuple(certificates), facts))


def _generated(config: Config, facts: Facts) -> tuple[Action, ...]:
    actions: list[Action] = []
    for kind in config.ssh_genkeytypes:
        path = f"{DIRECTORY}/ssh_host_{kind}_key"
        if facts.exists(path) and not config.ssh_deletekeys:
            continue
        actions.append(
            RunCommand(
                ("ssh-keygen", "-t", kind, "-N", "", "-f", path),
                environment=(("LANG", "C"),),
                show=not config.ssh_quiet_keygen,
                # A guest without OpenSSH needs no host keys, unless they were asked for.
                optional=config.ssh_genkeytypes == TYPES,
                on_failure=WARN,
            )
        )
        actions.extend(_for_group(path, facts))
    return tuple(actions)


def _for_group(path: str, facts: Facts) -> tuple[Action, ...]:
    """Old OpenSSH of the Red Hat family reads host keys through the group ssh_keys."""
    if facts.distro.family != "redhat":
        return ()
    if "ssh_keys" in facts.group_members() and _openssh_major(facts) < 9:
        return (
            SetMode(path, 0o640, "root:ssh_keys", on_failure=WARN),
            SetMode(f"{path}.pub", 0o644, on_failure=WARN),
        )
    return (SetMode(path, 0o600, on_failure=WARN),)


def _openssh_major(facts: Facts) -> int:
    answer = facts.ask("ssh", "-V")
    _, found, version = (answer.out + answer.err).decode("utf-8", "replace").partition("OpenSSH_")
    major = version.partition(".")[0]
    return int(major) if found and major.isdigit() else 9


def _logins(config: Config, facts: Facts) -> tuple[Action, ...]:
    keys = (*(facts.cloud.public_keys if config.allow_public_ssh_keys else ()), *config.ssh_authorized_keys)
    if not keys:
        return ()
    user = users_of(facts).default
    account = facts.account(user) if user else None
    for_user = authorize(user, account.home if account else f"/home/{user}", keys, facts) if user else ()
    if config.disable_root:
        options = disable_options(config.disable_root_opts, user or "NONE", "root")
        keys = tuple(with_options(each, options) for each in keys)
    root = facts.account("root")
    for_root = authorize("root", root.home if root else "/root", keys, facts)
    return tuple(each.replace(on_failure=WARN) for each in (*for_user, *for_root))


MODULE = Module("ssh", Config, plan)
